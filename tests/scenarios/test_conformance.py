"""One sequence of events, published by every way in and read by every way out: each payload, byte for byte, is the
same everywhere. The bytes are such that whoever parses and writes them anew changes them."""

import asyncio
import base64
import hashlib
import json
import os
import subprocess

import pytest
import websockets

from endpoint import endpoint
from harness import ROOT, call, eventually, http, stentor
from sse import stream

pytestmark = pytest.mark.asyncio
CHANNEL = "same.bytes"
# A program with the broker in it.
EMBEDDED = os.environ.get("STENTOR_EMBEDDED", str(ROOT / "target" / "debug" / "examples" / "embedded"))
NDJSON = {"content-type": "application/x-ndjson"}


def payload(n):
    return '{"n":%d,  "z":1.50,"a":"\\u00fc ü","deep":[[null,true,1e2]]}' % n


def digest(data):
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()


def member(text, name="data"):
    """The raw text of a member of a JSON object."""
    start = text.index(f'"{name}":') + len(name) + 3
    _, end = json.JSONDecoder().raw_decode(text[start:].lstrip())
    skipped = len(text[start:]) - len(text[start:].lstrip())
    return text[start + skipped:start + skipped + end]


def objects(text, name="events"):
    """The raw texts of the objects in a list."""
    at = text.index(f'"{name}":[') + len(name) + 4
    found = []
    while text[at] != "]":
        at += text[at] == ","
        _, end = json.JSONDecoder().raw_decode(text[at:])
        found.append(text[at:at + end])
        at += end
    return found


async def post(session, broker, body, headers=None, path="/v1/events"):
    headers = headers or {"content-type": "application/json"}
    await call(session, "POST", broker.url + path, data=body.encode(), headers=headers, expect=201)


def cloudevent(n):
    head = {"specversion": "1.0", "id": f"ce-{n}", "type": CHANNEL, "source": "/s"}
    return json.dumps(head)[:-1] + f', "data":{payload(n)}}}'


async def publish_everywhere(session, broker, folder):
    """Publishes one event, or a pair, by each way in; gives how many there are."""
    entry = lambda n: f'{{"channel":"{CHANNEL}","data":{payload(n)}}}'
    await post(session, broker, payload(0), path=f"/v1/events/{CHANNEL}")
    await post(session, broker, f"[{entry(1)},{entry(2)}]")
    await post(session, broker, f"{entry(3)}\n{entry(4)}\n", NDJSON)
    await post(session, broker, cloudevent(5), {"content-type": "application/cloudevents+json"})
    await post(session, broker, f"[{cloudevent(6)},{cloudevent(7)}]",
               {"content-type": "application/cloudevents-batch+json"})
    await post(session, broker, payload(8), {"content-type": "application/json", "ce-specversion": "1.0",
                                             "ce-id": "8", "ce-type": CHANNEL, "ce-source": "/s"})
    async with websockets.connect(broker.ws) as socket:
        await socket.send(f'{{"op":"publish","ref":"1","channel":"{CHANNEL}","data":{payload(9)}}}')
        assert json.loads(await socket.recv())["op"] == "published"
        await socket.send(f'{{"op":"publish","ref":"2","events":[{entry(10)},{entry(11)}]}}')
        assert json.loads(await socket.recv())["count"] == 2
    await asyncio.to_thread(stentor, "publish", CHANNEL, payload(12), url=broker.url)
    await asyncio.to_thread(stentor, "publish", CHANNEL, "-", url=broker.url, input=payload(13))
    lines = folder / "events.ndjson"
    lines.write_text(f"{entry(14)}\n{entry(15)}\n")
    await asyncio.to_thread(stentor, "publish", "--ndjson", lines, url=broker.url)
    broker.stop()
    embedded(broker, "publish", CHANNEL, input=f"{payload(16)}\n{payload(17)}\n")
    broker.start()
    return 18


def embedded(broker, *words, input=None):
    """Runs the program on the folder of a broker that has ended; gives what it printed."""
    command = [EMBEDDED, broker.data, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, input=input, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


async def read_everywhere(session, broker, count, folder):
    """What each way out gives: a name, and the payloads in order."""
    async def text(path, **arguments):
        async with session.request(arguments.pop("method", "GET"), broker.url + path, **arguments) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.text()

    yield "range", [member(event) for event in objects(await text("/v1/events"))]
    yield "long-poll", [member(event) for event in objects(await text("/v1/events?wait=5s&from=0"))]
    yield "one by one", [member(await text(f"/v1/events/{n}")) for n in range(count)]
    yield "export", [member(line) for line in (await text("/v1/export")).splitlines()[:-1]]
    name = "/v1/subscribers/puller"
    await call(session, "PUT", broker.url + name, json={"channels": [CHANNEL], "from": "earliest"}, expect=201)
    yield "pull", [member(event) for event in objects(await text(f"{name}/pull", method="POST", json={}))]
    async with session.get(f"{broker.url}/v1/sse?channels={CHANNEL}&from=earliest") as answer:
        found = []
        while len(found) < count:
            line = (await answer.content.readline()).decode()
            if line.startswith('data: {"offset"'):
                found.append(member(line))
        yield "server-sent events", found
    async with websockets.connect(f"{broker.ws}?channels={CHANNEL}&from=earliest") as socket:
        await socket.recv()
        yield "WebSocket", [member(await socket.recv()) for _ in range(count)]
    async with websockets.connect(f"{broker.ws}?channels={CHANNEL}&from=earliest&batch=100") as socket:
        await socket.recv()
        found = []
        while len(found) < count:
            found += [member(event) for event in objects(await socket.recv())]
        yield "WebSocket in batches", found
    async with websockets.connect(f"{broker.ws}?channels={CHANNEL}&from=earliest",
                                  subprotocols=["cloudevents.json"]) as socket:
        yield "WebSocket of CloudEvents", [member(await socket.recv()) for _ in range(count)]
    read = await asyncio.to_thread(stentor, "read", CHANNEL, url=broker.url)
    yield "stentor read", [member(line) for line in read.stdout.splitlines()]
    heard = await asyncio.to_thread(stentor, "subscribe", CHANNEL, "--from", "earliest", "--count", count,
                                    url=broker.url)
    yield "stentor subscribe", [member(line) for line in heard.stdout.splitlines()]
    out = folder / "export.ndjson"
    await asyncio.to_thread(stentor, "export", "--out", out, url=broker.url)
    yield "stentor export", [member(line) for line in out.read_text().splitlines()[:-1]]
    formats = {
        "native": lambda request: member(request.body.decode()),
        "data": lambda request: request.body.decode(),
        "cloudevents": lambda request: member(request.body.decode()),
        "cloudevents-binary": lambda request: request.body.decode(),
    }
    for shape, of in formats.items():
        async with endpoint() as called:
            settings = {"url": called.url, "channels": [CHANNEL], "from": "earliest", "format": shape}
            await call(session, "PUT", f"{broker.url}/v1/connectors/{shape}", json=settings, expect=201)
            await eventually(lambda: len(called.requests) >= count, what=f"all requests in format {shape}")
            yield f"connector, {shape}", [of(request) for request in called.requests]
    broker.stop()
    yield "embedding", embedded(broker, "listen", CHANNEL, count)
    broker.start()


async def test_every_way_in_and_every_way_out_agree_on_each_payload(broker, tmp_path):
    broker.stop()
    embedded(broker, "listen", CHANNEL, 0)
    broker.start()
    async with http() as session:
        count = await publish_everywhere(session, broker, tmp_path)
        expected = [digest(payload(n)) for n in range(count)]
        ways = 0
        async for way, payloads in read_everywhere(session, broker, count, tmp_path):
            assert [digest(each) for each in payloads] == expected, way
            ways += 1
        assert ways == 17


async def test_other_content_types_agree_too(broker):
    async with http() as session:
        body = bytes(range(256))
        await call(session, "POST", f"{broker.url}/v1/events/{CHANNEL}", data=body,
                   headers={"content-type": "image/png"}, expect=201)
        entry = {"channel": CHANNEL, "content_type": "image/png", "data_base64": base64.b64encode(body).decode()}
        await call(session, "POST", f"{broker.url}/v1/events", json=[entry], expect=201)
        async with endpoint() as called:
            settings = {"url": called.url, "channels": [CHANNEL], "from": "earliest", "format": "data"}
            await call(session, "PUT", f"{broker.url}/v1/connectors/raw", json=settings, expect=201)
            await eventually(lambda: len(called.requests) == 2, what="both requests")
            for request in called.requests:
                assert (request.body, request.headers["content-type"]) == (body, "image/png")
        async with stream(session, broker, channels=CHANNEL, **{"from": "earliest"}) as events:
            for event in await events.events(2):
                assert (event["content_type"], base64.b64decode(event["data_base64"])) == ("image/png", body)
