"""PROTOCOL.md sections 5 and 6: what goes over the streams is what `/asyncapi.json` says."""

import json

import websockets
from jsonschema import Draft202012Validator

from harness import call, http
from sse import stream


def said(document, name, frame):
    """Holds what was said against the message of that name."""
    validator = Draft202012Validator({**document, "$ref": f"#/components/messages/{name}/payload"})
    assert [error.message for error in validator.iter_errors(frame)] == [], (name, frame)


def came(document, text):
    """Holds a frame of the broker's against the document; gives the name of its message."""
    frame = json.loads(text)
    name = "published_batch" if "first_offset" in frame else frame["op"]
    said(document, name, frame)
    return name


async def test_frames_both_ways_are_those_of_the_document(broker):
    asked = [
        ("subscribe", {"op": "subscribe", "channels": ["key.*"], "subscriber": "ui", "from": 0, "window": 9, "batch": 4}),
        ("publish", {"op": "publish", "ref": 1, "channel": "key.on", "data": {"a": 1}, "key": "k", "headers": {"a": "b"}}),
        ("publish", {"op": "publish", "ref": "2", "events": [{"channel": "key.on", "data": None}]}),
        ("ack", {"op": "ack", "offset": 0, "confirm": True}),
        ("nack", {"op": "nack", "offset": 9, "delay": "1s"}),
        ("reject", {"op": "reject", "offset": "9", "reason": "never"}),
        ("working", {"op": "working", "offset": 9}),
        ("ping", {"op": "ping"}),
    ]
    due = {"subscribed", "caught_up", "published", "published_batch", "events", "acked", "error", "pong"}
    async with http() as session:
        _, document = await call(session, "GET", f"{broker.url}/asyncapi.json", expect=200)
        async with websockets.connect(broker.ws, subprotocols=["stentor.v1.json"]) as socket:
            for name, frame in asked:
                said(document, name, frame)
                if name == "ack":
                    # Nothing can be acknowledged that has not been delivered.
                    while "events" in due:
                        due.discard(came(document, await socket.recv()))
                await socket.send(json.dumps(frame))
            while due:
                due.discard(came(document, await socket.recv()))
        async with websockets.connect(f"{broker.ws}?channels=key.*&from=0") as socket:
            due = {"subscribed", "event", "caught_up"}
            while due:
                due.discard(came(document, await socket.recv()))
        async with websockets.connect(f"{broker.ws}?channels=key.*&from=0", subprotocols=["cloudevents.json"]) as socket:
            said(document, "cloudevent", json.loads(await socket.recv()))


async def test_server_sent_events_are_those_of_the_document(broker):
    async with http() as session:
        _, document = await call(session, "GET", f"{broker.url}/asyncapi.json", expect=200)
        await call(session, "POST", f"{broker.url}/v1/events/key.on", json={"a": 1}, expect=201)
        async with stream(session, broker, channels="key.*", **{"from": "earliest"}) as events:
            said(document, "sse_event", (await events.events(1))[0])
            said(document, "sse_caught_up", await events.named("caught_up"))
