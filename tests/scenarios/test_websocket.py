"""PROTOCOL.md sections 4 and 5, word for word, through the `websockets` client.

Where a client must misbehave (answer no ping, talk on after a close), a bare socket takes its place.
"""

import asyncio
import base64
import collections
import contextlib
import json
import os
import re
import signal
import struct
import urllib.parse

import pytest
import websockets
from websockets.asyncio.client import connect

from harness import call, eventually, http

SUBPROTOCOL = "stentor.v1.json"
# Longer than any answer takes, shorter than anybody's patience.
SOON = 10
# How long a connection is watched that must stay silent.
QUIET = 0.4


class Client:
    """One WebSocket: frames out, frames in, and how it was closed."""

    def __init__(self, socket):
        self.socket = socket
        # Frames that came before the answer that was waited for, in their order.
        self.earlier = collections.deque()

    async def say(self, op, **members):
        await self.socket.send(json.dumps({"op": op, **members}))

    async def text(self, within=SOON):
        if self.earlier:
            return self.earlier.popleft()
        return await asyncio.wait_for(self.socket.recv(), within)

    async def frame(self, within=SOON):
        return json.loads(await self.text(within))

    async def expect(self, op, within=SOON):
        frame = await self.frame(within)
        assert frame["op"] == op, f"{op} was due, and this came: {frame}"
        return frame

    async def events(self, count, within=SOON):
        """The next so many frames, all of them events: their offsets."""
        return [(await self.expect("event", within))["offset"] for _ in range(count)]

    async def silent(self, within=QUIET):
        """Nothing comes for a while."""
        with pytest.raises(asyncio.TimeoutError):
            frame = await self.text(within)
            raise AssertionError(f"nothing was due, and this came: {frame}")

    async def refused(self, code=None):
        """An error frame comes, complete, and the connection goes on."""
        frame = await self.expect("error")
        assert frame["code"] and frame["detail"], frame
        if code:
            assert frame["code"] == code, frame
        await self.alive()
        return frame

    async def alive(self):
        await self.say("ping")
        assert await self.frame() == {"op": "pong"}

    async def acked(self, **what):
        """Acknowledges and waits until that is durable: the cursor. Deliveries before the answer are kept."""
        before = list(self.earlier)
        self.earlier.clear()
        await self.say("ack", confirm=True, **what)
        for _ in range(10_000):
            text = await self.text()
            frame = json.loads(text)
            if frame["op"] == "acked":
                break
            assert frame["op"] in ("event", "events", "caught_up"), f"acked was due, and this came: {frame}"
            before.append(text)
        assert set(frame) == {"op", "cursor"}, frame
        self.earlier.extend(before)
        return frame["cursor"]

    async def closed(self, within=SOON):
        """The code it is closed with; frames before it are let go."""
        async def drain():
            with contextlib.suppress(websockets.ConnectionClosed):
                for _ in range(100_000):
                    await self.socket.recv()
            return self.socket.close_code
        return await asyncio.wait_for(drain(), within)


def stands_in(word, text):
    """Whether a word stands in a text as a word."""
    return re.search(rf"(?<![0-9A-Za-z_]){re.escape(word)}(?![0-9A-Za-z_])", text)


def address(broker, **query):
    return broker.ws + ("?" + urllib.parse.urlencode(query, doseq=True) if query else "")


@contextlib.asynccontextmanager
async def listen(broker, subprotocols=(SUBPROTOCOL,), **query):
    """A connection; `query` starts delivery at once."""
    opening = connect(address(broker, **query), subprotocols=list(subprotocols) or None, ping_interval=None,
                      max_size=None, compression=None, close_timeout=2)
    async with opening as socket:
        yield Client(socket)


async def publish(broker, count, channel="key.activated", first=0):
    """So many events, acknowledged by the broker; their data is a running number."""
    async with http() as session:
        lines = "".join(json.dumps({"channel": channel, "data": first + n}) + "\n" for n in range(count))
        _, answer = await call(session, "POST", broker.url + "/v1/events", data=lines.encode(), expect=201,
                               headers={"content-type": "application/x-ndjson"})
        return answer["first_offset"]


async def subscriber(broker, name):
    async with http() as session:
        _, shown = await call(session, "GET", f"{broker.url}/v1/subscribers/{name}", expect=200)
        return shown


async def make(broker, name, **settings):
    async with http() as session:
        return await call(session, "PUT", f"{broker.url}/v1/subscribers/{name}", json=settings)


async def post(broker, path, body):
    async with http() as session:
        return await call(session, "POST", broker.url + path, json=body)


async def end_of(broker):
    async with http() as session:
        _, ready = await call(session, "GET", broker.url + "/health/ready", expect=200)
        return ready["end"]


class Bare:
    """A WebSocket client that does nothing by itself: no pong, no answer to a close (RFC 6455)."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, broker, **query):
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        target = urllib.parse.urlsplit(address(broker, **query))
        path = target.path + ("?" + target.query if target.query else "")
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {target.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
                     f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON)
        assert head.startswith(b"HTTP/1.1 101"), head
        return cls(reader, writer)

    async def send(self, opcode, payload=b""):
        """One masked frame."""
        mask = os.urandom(4)
        size = len(payload)
        if size < 126:
            length = bytes([0x80 | size])
        elif size < 1 << 16:
            length = bytes([0x80 | 126]) + struct.pack(">H", size)
        else:
            length = bytes([0x80 | 127]) + struct.pack(">Q", size)
        body = bytes(b ^ mask[n % 4] for n, b in enumerate(payload)) if size < 1 << 16 else \
            (int.from_bytes(payload, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")).to_bytes(size, "big")
        self.writer.write(bytes([0x80 | opcode]) + length + mask + body)
        await self.writer.drain()

    async def say(self, op, **members):
        await self.send(1, json.dumps({"op": op, **members}).encode())

    async def receive(self, within=SOON):
        """The next frame: opcode and payload; (None, b"") at the end of the stream."""
        async def read():
            try:
                first, second = await self.reader.readexactly(2)
                size = second & 0x7F
                if size == 126:
                    size, = struct.unpack(">H", await self.reader.readexactly(2))
                elif size == 127:
                    size, = struct.unpack(">Q", await self.reader.readexactly(8))
                return first & 0x0F, await self.reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None, b""
        return await asyncio.wait_for(read(), within)

    async def until(self, wanted, within=SOON):
        """Lets frames go until one of this opcode, or the end: its payload."""
        for _ in range(100_000):
            opcode, payload = await self.receive(within)
            if opcode in (wanted, None):
                return opcode, payload
        raise AssertionError("too many frames")

    async def close_code(self, within=SOON):
        """The code of the close frame; None where the stream just ends."""
        opcode, payload = await self.until(8, within)
        return struct.unpack(">H", payload[:2])[0] if opcode == 8 and payload else None

    def close(self):
        self.writer.close()


@contextlib.asynccontextmanager
async def bare(broker, **query):
    client = await Bare.open(broker, **query)
    try:
        yield client
    finally:
        client.close()


# The upgrade and `subscribed`


async def test_the_subprotocol_is_echoed_when_it_is_offered(broker):
    async with listen(broker, [SUBPROTOCOL]) as client:
        assert client.socket.subprotocol == SUBPROTOCOL
    async with listen(broker, ["something.else", SUBPROTOCOL]) as client:
        assert client.socket.subprotocol == SUBPROTOCOL


async def test_who_offers_no_subprotocol_gets_the_same_service(broker):
    async with listen(broker, [], channels="key.*", **{"from": "earliest"}) as client:
        assert client.socket.subprotocol is None
        await client.expect("subscribed")
        await client.expect("caught_up")
        await publish(broker, 1)
        assert await client.events(1) == [0]


async def test_subscribed_is_the_first_frame_and_tells_channels_cursor_and_end(broker):
    await publish(broker, 3)
    async with listen(broker, channels="key.*,policy.**", **{"from": "earliest"}) as client:
        assert await client.frame() == {"op": "subscribed", "channels": ["key.*", "policy.**"], "cursor": 0, "end": 3}
    async with listen(broker, channels=["key.*", "policy.**"]) as client:
        assert await client.frame() == {"op": "subscribed", "channels": ["key.*", "policy.**"], "cursor": 3, "end": 3}
    async with listen(broker, channels="key.*", subscriber="ui-1", **{"from": "1"}) as client:
        assert await client.frame() == {
            "op": "subscribed", "channels": ["key.*"], "subscriber": "ui-1", "cursor": 1, "end": 3}


async def test_a_frame_subscribes_as_the_query_does(broker):
    await publish(broker, 2)
    async with listen(broker) as client:
        await client.silent()
        await client.say("subscribe", channels=["key.*"], subscriber="ui", **{"from": 1}, window=5, ack_timeout="7s")
        assert await client.frame() == {
            "op": "subscribed", "channels": ["key.*"], "subscriber": "ui", "cursor": 1, "end": 2}
        assert await client.events(1) == [1]
        shown = await subscriber(broker, "ui")
        assert (shown["window"], shown["ack_timeout"], shown["connected"]) == (5, "7s", True)


async def test_a_connection_without_parameters_may_publish_only(broker):
    async with listen(broker) as client:
        await client.say("publish", ref="1", channel="key.activated", data={"n": 1})
        assert (await client.expect("published"))["offset"] == 0
        await client.silent()


async def test_an_ack_without_a_durable_subscription_is_an_error_and_the_connection_stays_open(broker):
    await publish(broker, 1)
    async with listen(broker) as client:
        await client.say("ack", offset=0)
        await client.refused()
    async with listen(broker, channels="**", **{"from": "earliest"}) as client:
        await client.expect("subscribed")
        await client.events(1)
        await client.expect("caught_up")
        for op in ("ack", "nack", "reject", "working"):
            await client.say(op, offset=0)
            await client.refused()


async def test_where_it_begins_may_be_an_offset_a_time_or_an_end(broker):
    await publish(broker, 1)
    await publish(broker, 1)
    async with http() as session:
        _, event = await call(session, "GET", broker.url + "/v1/events/1", expect=200)
    table = {"earliest": 0, "0": 0, "1": 1, "2": 2, "latest": 2, event["time"]: 1, "2020-01-01T00:00:00Z": 0,
             "2100-01-01T00:00:00+01:00": 2}
    for place, cursor in table.items():
        async with listen(broker, channels="key.*", **{"from": place}) as client:
            assert (await client.expect("subscribed"))["cursor"] == cursor, place
            assert await client.events(2 - cursor) == list(range(cursor, 2)), place
            assert await client.frame() == {"op": "caught_up", "end": 2}, place


async def test_an_existing_subscriber_ignores_from_and_keeps_the_settings_that_are_not_given(broker):
    await publish(broker, 3)
    await make(broker, "ui", channels=["key.*"], window=7, ack_timeout="9s", **{"from": 1})
    async with listen(broker, subscriber="ui", ack_timeout="11s", **{"from": "earliest"}) as client:
        assert (await client.expect("subscribed"))["cursor"] == 1
        shown = await subscriber(broker, "ui")
        assert (shown["channels"], shown["window"], shown["ack_timeout"]) == (["key.*"], 7, "11s")


# caught_up


async def test_caught_up_comes_at_once_where_there_is_nothing_to_replay(broker):
    async with listen(broker, channels="key.*", **{"from": "earliest"}) as client:
        await client.expect("subscribed")
        assert await client.frame() == {"op": "caught_up", "end": 0}
    await publish(broker, 3)
    async with listen(broker, channels="key.*") as client:
        await client.expect("subscribed")
        assert await client.frame() == {"op": "caught_up", "end": 3}
    async with listen(broker, channels="nobody.*", subscriber="other", **{"from": "earliest"}) as client:
        await client.expect("subscribed")
        assert await client.frame() == {"op": "caught_up", "end": 3}


async def test_caught_up_comes_after_every_matching_event_below_its_end(broker):
    await publish(broker, 5)
    await publish(broker, 5, channel="other")
    async with listen(broker, channels="key.*", **{"from": "earliest"}) as client:
        await client.expect("subscribed")
        assert await client.events(5) == [0, 1, 2, 3, 4]
        assert await client.frame() == {"op": "caught_up", "end": 10}
        await publish(broker, 1)
        assert await client.events(1) == [10]


async def test_a_full_window_holds_caught_up_back_until_the_replay_is_through(broker):
    await publish(broker, 3)
    async with listen(broker, channels="key.*", subscriber="ui", window=1, **{"from": "earliest"}) as client:
        await client.expect("subscribed")
        for offset in range(3):
            assert await client.events(1) == [offset]
            if offset < 2:
                await client.silent(0.1)
                await client.say("ack", offset=offset)
        assert await client.frame() == {"op": "caught_up", "end": 3}


@pytest.mark.parametrize("query", [{}, {"subscriber": "ui", "window": 10_000}], ids=["anonymous", "durable"])
async def test_a_replay_during_publishing_has_neither_hole_nor_repeat_and_one_caught_up_at_its_place(broker, query):
    await publish(broker, 3_000)

    async def go_on():
        for n in range(40):
            await publish(broker, 50, first=3_000 + 50 * n)

    async with listen(broker, channels="key.*", **{"from": "earliest"}, **query) as client:
        publishing = asyncio.create_task(go_on())
        await client.expect("subscribed")
        seen, caught_up = 0, []
        while seen < 5_000 or not caught_up:
            frame = await client.frame()
            if frame["op"] == "caught_up":
                assert frame["end"] == seen, "all below and none above was sent before"
                caught_up.append(frame)
            else:
                assert (frame["op"], frame["offset"], frame["data"]) == ("event", seen, seen), frame
                assert "attempt" not in frame
                seen += 1
        await publishing
        await client.silent()
        assert len(caught_up) == 1


# Events


async def test_event_frames_carry_the_data_byte_for_byte_as_published(broker):
    payloads = [
        '{"b":1,"a":2,"b":3}', '{ "x" : [ 1 ,2 ] }', "1.0e5", "-0", "123456789012345678901234567890", "null", '"\\u00e9\\/é"',
        '"<\\u2028\u2028>"', "[ ]", '{"op":"ack","offset":7}', '"\\ud83d\\ude00 😀"', "0.10",
    ]
    async with http() as session, listen(broker, channels="key.*", **{"from": "earliest"}) as client:
        await client.expect("subscribed")
        await client.expect("caught_up")
        for n, payload in enumerate(payloads):
            _, answer = await call(session, "POST", broker.url + "/v1/events/key.activated", expect=201,
                                   data=payload.encode(), headers={"content-type": "application/json"})
            text = await client.text()
            assert f'"data":{payload}' in text, f"{payload!r} became {text!r}"
            assert text.startswith("{") and "\n" not in text
            frame = json.loads(text)
            assert set(frame) == {"op", "offset", "id", "channel", "time", "data"}, frame
            assert {m: frame[m] for m in ("offset", "id", "channel", "time")} == answer
            assert frame["offset"] == n
            async with session.get(f"{broker.url}/v1/events/{n}") as stored:
                assert f'"data":{payload}' in await stored.text()
        for n, payload in enumerate(payloads, len(payloads)):
            await client.socket.send(f'{{"op":"publish","ref":{n},"channel":"key.activated","data":{payload}}}')
            first, second = await client.text(), await client.text()
            event = first if '"op":"event"' in first else second
            assert f'"data":{payload}' in event, f"{payload!r} became {event!r}"


async def test_line_breaks_between_tokens_become_spaces_and_nothing_else_changes(broker):
    async with http() as session, listen(broker, channels="key.*") as client:
        await client.expect("subscribed")
        await client.expect("caught_up")
        await call(session, "POST", broker.url + "/v1/events/key.activated", expect=201,
                   data=b'{"a":\r\n1,\n"b":"x\\n"}', headers={"content-type": "application/json"})
        assert '"data":{"a":  1, "b":"x\\n"}' in await client.text()


async def test_an_event_frame_has_key_headers_and_binary_payloads_as_the_event_has(broker):
    async with http() as session, listen(broker, channels="key.*") as client:
        await client.expect("subscribed")
        await client.expect("caught_up")
        headers = {"idempotency-key": '"id-1"', "stentor-key": "openai", "stentor-header-x-a": "1",
                   "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "content-type": "image/png"}
        await call(session, "POST", broker.url + "/v1/events/key.activated", data=b"\x00\xff", headers=headers, expect=201)
        frame = await client.expect("event")
        assert frame["id"] == "id-1" and frame["key"] == "openai" and "data" not in frame
        assert frame["headers"] == {"x-a": "1", "traceparent": headers["traceparent"]}
        assert (frame["content_type"], base64.b64decode(frame["data_base64"])) == ("image/png", b"\x00\xff")


async def test_an_event_comes_once_however_many_patterns_match(broker):
    async with listen(broker, channels="key.*,key.activated,**,key.**") as client:
        await client.expect("subscribed")
        await client.expect("caught_up")
        await publish(broker, 3)
        assert await client.events(3) == [0, 1, 2]
        await client.silent()


async def test_who_asks_for_batches_gets_events_frames_of_at_most_that_many(broker):
    await publish(broker, 25)
    for query in ({}, {"subscriber": "ui"}):
        async with listen(broker, channels="key.*", batch=10, **{"from": "earliest"}, **query) as client:
            await client.expect("subscribed")
            seen = []
            while len(seen) < 25:
                frame = await client.expect("events")
                assert set(frame) == {"op", "events"} and 1 <= len(frame["events"]) <= 10, frame
                assert all("op" not in event for event in frame["events"])
                seen += [event["offset"] for event in frame["events"]]
            assert seen == list(range(25))
            assert await client.frame() == {"op": "caught_up", "end": 25}
    async with listen(broker) as client:
        await client.say("subscribe", channels=["key.*"], batch=3, **{"from": 24})
        await client.expect("subscribed")
        assert [event["offset"] for event in (await client.expect("events"))["events"]] == [24]


async def test_batches_carry_the_attempt_of_what_is_sent_again(broker):
    await publish(broker, 2)
    async with listen(broker, channels="key.*", subscriber="ui", batch=10, **{"from": "earliest"}) as client:
        await client.expect("subscribed")
        seen = []
        while len(seen) < 2:
            seen += (await client.expect("events"))["events"]
        assert all("attempt" not in event for event in seen)
        await client.expect("caught_up")
        await client.say("nack", offset=0)
        again = []
        while len(again) < 2:
            again += (await client.expect("events"))["events"]
        assert [(event["offset"], event["attempt"]) for event in again] == [(0, 2), (1, 2)]


# ack, nack, reject, working


async def start(client, count):
    """Everything up to the live end: `subscribed`, so many events, `caught_up`."""
    await client.expect("subscribed")
    offsets = await client.events(count)
    await client.expect("caught_up")
    return offsets


async def test_an_ack_covers_everything_up_to_its_offset(broker):
    await publish(broker, 5)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 5)
        assert await client.acked(offset=2) == 3
        assert await client.acked(offset=0) == 3, "below the cursor it changes nothing"
        assert await client.acked(offset="3") == 4, "an offset may be a string"
    async with listen(broker, subscriber="ui") as client:
        assert (await client.expect("subscribed"))["cursor"] == 4
        frame = await client.expect("event")
        assert (frame["offset"], frame["attempt"]) == (4, 2)


async def test_acks_of_single_offsets_cover_only_these(broker):
    await publish(broker, 5)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 5)
        assert await client.acked(offsets=[1, 3]) == 0
        shown = await subscriber(broker, "ui")
        assert (shown["cursor"], shown["lag"], shown["open"]) == (0, 3, 3)
    async with listen(broker, subscriber="ui") as client:
        await client.expect("subscribed")
        assert await client.events(3) == [0, 2, 4]
        await client.expect("caught_up")
        assert await client.acked(offsets=[0]) == 2, "the cursor passes what was acknowledged before"
        assert await client.acked(offsets=[4, 2]) == 5


async def test_a_confirmed_ack_survives_a_kill(broker):
    await publish(broker, 4)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 4)
        assert await client.acked(offset=1) == 2
        assert await client.acked(offsets=[3]) == 2
        broker.kill()
    broker.start()
    shown = await subscriber(broker, "ui")
    assert (shown["cursor"], shown["lag"]) == (2, 1)
    async with listen(broker, subscriber="ui") as client:
        assert (await client.expect("subscribed"))["cursor"] == 2
        assert await client.events(1) == [2]
        assert await client.frame() == {"op": "caught_up", "end": 4}


async def test_events_that_do_not_match_count_as_done(broker):
    await publish(broker, 2)
    await publish(broker, 3, channel="other")
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 2)
        assert await client.acked(offset=1) == 5, "nothing is left that matches: the end"


async def test_an_ack_beyond_what_was_delivered_is_an_error_and_the_connection_stays_open(broker):
    await publish(broker, 3)
    async with listen(broker, channels="key.*", subscriber="ui", window=2, **{"from": "earliest"}) as client:
        await client.expect("subscribed")
        assert await client.events(2) == [0, 1]
        for beyond in ({"offset": 2}, {"offset": 99}, {"offset": 2**64 - 1}, {"offsets": [0, 2]}):
            await client.say("ack", **beyond)
            await client.refused()
            assert (await subscriber(broker, "ui"))["cursor"] == 0, "none of them is done"
        assert await client.acked(offset=1) == 2


async def test_a_nack_goes_back_to_the_event_in_order_with_its_attempt(broker):
    await publish(broker, 4)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 4)
        await client.say("nack", offset=1)
        again = [await client.expect("event") for _ in range(3)]
        assert [(event["offset"], event["attempt"]) for event in again] == [(1, 2), (2, 2), (3, 2)]
        await client.say("nack", offset=3)
        third = await client.expect("event")
        assert (third["offset"], third["attempt"]) == (3, 3)
        assert await client.acked(offset=3) == 4


async def test_after_a_nack_with_a_delay_nothing_is_sent_and_acks_from_there_on_are_refused_until_it_is(broker):
    await publish(broker, 4)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 4)
        asked = asyncio.get_running_loop().time()
        await client.say("nack", offset=1, delay="1500ms")
        await publish(broker, 1)
        for late in ({"offset": 1}, {"offset": 3}, {"offsets": [2]}):
            await client.say("ack", **late)
            await client.refused()
        assert await client.acked(offset=0) == 1, "below it acks are taken"
        again = [await client.expect("event") for _ in range(4)]
        assert asyncio.get_running_loop().time() - asked >= 1.5
        assert [(event["offset"], event.get("attempt")) for event in again] == [(1, 2), (2, 2), (3, 2), (4, None)]
        assert await client.acked(offset=4) == 5


async def test_the_delay_of_a_nack_outlasts_the_ack_timeout(broker):
    await publish(broker, 2)
    query = {"channels": "key.*", "subscriber": "ui", "ack_timeout": "300ms", "from": "earliest"}
    async with listen(broker, **query) as client:
        await start(client, 2)
        asked = asyncio.get_running_loop().time()
        await client.say("nack", offset=0, delay="1500ms")
        frame = await client.expect("event")
        assert (frame["offset"], frame["attempt"]) == (0, 2)
        assert asyncio.get_running_loop().time() - asked >= 1.5


async def test_nothing_is_sent_during_the_delay_of_a_nack_though_an_older_event_times_out(broker):
    await publish(broker, 3)
    query = {"channels": "key.*", "subscriber": "ui", "ack_timeout": "300ms", "from": "earliest"}
    async with listen(broker, **query) as client:
        await start(client, 3)
        asked = asyncio.get_running_loop().time()
        await client.say("nack", offset=1, delay="1500ms")
        frame = await client.expect("event")
        assert asyncio.get_running_loop().time() - asked >= 1.5, f"sent during the delay: {frame}"


async def test_a_nack_of_what_is_not_open_is_an_error(broker):
    await publish(broker, 2)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 2)
        assert await client.acked(offset=0) == 1
        for op in ("nack", "reject", "working"):
            for offset in (0, 2):
                await client.say(op, offset=offset)
                await client.refused()


async def test_a_rejected_event_is_dead_lettered_and_the_cursor_passes_it(broker):
    await publish(broker, 3)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 3)
        await client.say("reject", offset=0, reason="not for me")
        await client.say("reject", offset=1)
        await client.alive()

        async def passed():
            return (await subscriber(broker, "ui"))["cursor"] == 2
        await eventually(passed, what="the cursor passes what was rejected")
        await client.say("reject", offset=0)
        await client.refused()
    async with http() as session:
        _, found = await call(session, "GET", broker.url + "/v1/receipts?subscriber=ui&offset=0", expect=200)
        receipt, = found["receipts"]
        assert (receipt["outcome"], receipt["reason"], receipt["attempts"]) == ("dead", "not for me", 1)
        assert (receipt["from"], receipt["to"], receipt["subscriber"]) == (0, 1, "ui")
        _, found = await call(session, "GET", broker.url + "/v1/events/1/receipts", expect=200)
        assert [(each["subscriber"], each["state"]) for each in found["receipts"]] == [("ui", "dead")]
    async with listen(broker, subscriber="ui") as client:
        assert (await client.expect("subscribed"))["cursor"] == 2
        assert await client.events(1) == [2]


async def test_a_confirmed_ack_behind_a_reject_is_answered_once_the_reject_is_durable_too(broker):
    await publish(broker, 500)
    async with listen(broker, channels="key.*", subscriber="ui", window=1_000, **{"from": "earliest"}) as client:
        await start(client, 500)
        for offset in range(500):
            await client.say("reject", offset=offset)
            assert await client.acked(offset=offset) == offset + 1


async def test_what_was_acknowledged_before_is_durable_when_it_is_confirmed_later(broker):
    """Acks are written down together every so often; a confirmation that comes just then waits for them."""
    await publish(broker, 1_500)
    async with listen(broker, channels="key.*", subscriber="ui", window=2_000, **{"from": "earliest"}) as client:
        await start(client, 1_500)
        for offset in range(1_500):
            await client.say("ack", offset=offset)
            for _ in range(offset % 20):
                await client.alive()
            assert await client.acked(offset=offset) == offset + 1


async def test_when_the_oldest_times_out_everything_open_comes_again_in_order_with_its_attempt(broker):
    await publish(broker, 4)
    query = {"channels": "key.*", "subscriber": "ui", "ack_timeout": "500ms", "from": "earliest"}
    async with listen(broker, **query) as client:
        began = asyncio.get_running_loop().time()
        await start(client, 4)
        await client.say("ack", offsets=[2])
        for attempt in (2, 3):
            again = [await client.expect("event") for _ in range(3)]
            assert [(event["offset"], event["attempt"]) for event in again] == [(n, attempt) for n in (0, 1, 3)]
        took = asyncio.get_running_loop().time() - began
        assert 0.9 <= took < 3, took
        assert await client.acked(offset=3) == 4
        await client.silent(0.8)


async def test_the_ack_timeout_runs_for_the_oldest_open_event_and_starts_anew_when_the_cursor_moves(broker):
    """Who works through a full window one by one is not told that the rest of it is late."""
    await publish(broker, 2)
    query = {"channels": "key.*", "subscriber": "ui", "ack_timeout": "1s", "from": "earliest"}
    async with listen(broker, **query) as client:
        await start(client, 2)
        await client.silent(0.8)
        await client.say("ack", offset=0)
        await client.silent(0.6)
        frame = await client.expect("event")
        assert (frame["offset"], frame["attempt"]) == (1, 2)


async def test_working_starts_the_ack_timeout_anew(broker):
    await publish(broker, 1)
    query = {"channels": "key.*", "subscriber": "ui", "ack_timeout": "500ms", "from": "earliest"}
    async with listen(broker, **query) as client:
        await start(client, 1)
        for _ in range(4):
            await client.silent(0.3)
            await client.say("working", offset=0)
        frame = await client.expect("event")
        assert (frame["offset"], frame["attempt"]) == (0, 2)


async def test_no_more_events_are_open_than_the_window_allows(broker):
    await publish(broker, 6)
    async with listen(broker, channels="key.*", subscriber="ui", window=2, **{"from": "earliest"}) as client:
        await client.expect("subscribed")
        assert await client.events(2) == [0, 1]
        await client.silent()
        assert (await subscriber(broker, "ui"))["open"] == 2
        await client.say("ack", offsets=[1])
        assert await client.events(1) == [2], "an ack of any of them makes room"
        await client.silent()
        await client.say("ack", offset=2)
        assert await client.events(2) == [3, 4]
        await client.silent()
        await client.say("reject", offset=3)
        assert await client.events(1) == [5]


async def test_when_a_session_ends_the_next_one_begins_at_the_cursor(broker):
    await publish(broker, 3)
    for attempt in (None, 2, 3):
        async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
            assert (await client.expect("subscribed"))["cursor"] == 0
            for offset in range(3):
                frame = await client.expect("event")
                assert (frame["offset"], frame.get("attempt")) == (offset, attempt)


async def test_a_seek_starts_the_attempts_anew(broker):
    await publish(broker, 2)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 2)
        await client.say("nack", offset=0)
        assert (await client.expect("event"))["attempt"] == 2
    assert await post(broker, "/v1/subscribers/ui/seek", {"to": 0}) == (200, {"cursor": 0})
    async with listen(broker, subscriber="ui") as client:
        await client.expect("subscribed")
        assert "attempt" not in await client.expect("event")


# publish, ping


async def test_a_publish_is_answered_by_its_ref(broker):
    async with listen(broker) as client:
        await client.say("publish", ref="1", channel="key.activated", data={"n": 1}, id="a", key="k", headers={"x": "y"})
        assert await client.frame() == {"op": "published", "ref": "1", "offset": 0, "id": "a"}
        await client.say("publish", ref="2", channel="key.activated", data=None)
        answer = await client.expect("published")
        assert set(answer) == {"op", "ref", "offset", "id"} and (answer["ref"], answer["offset"]) == ("2", 1)
    async with http() as session:
        _, event = await call(session, "GET", broker.url + "/v1/events/0", expect=200)
        assert (event["key"], event["headers"], event["data"]) == ("k", {"x": "y"}, {"n": 1})
        _, event = await call(session, "GET", broker.url + "/v1/events/1", expect=200)
        assert (event["id"], event["data"]) == (answer["id"], None)


async def test_many_publishes_at_once_are_each_answered_once(broker):
    async with listen(broker) as client:
        refs = [str(n) for n in range(3_000)]

        async def write():
            for ref in refs:
                await client.say("publish", ref=ref, channel="key.activated", data=int(ref))
        writing = asyncio.create_task(write())
        answers = [await client.expect("published") for _ in refs]
        await writing
        assert sorted(answer["ref"] for answer in answers) == sorted(refs)
        assert sorted(answer["offset"] for answer in answers) == list(range(3_000))


async def test_a_repeated_id_is_a_duplicate_and_another_payload_a_conflict(broker):
    async with listen(broker) as client:
        for duplicate in ({}, {"duplicate": True}):
            await client.say("publish", ref="r", channel="key.activated", data={"n": 1}, id="a")
            assert await client.frame() == {"op": "published", "ref": "r", "offset": 0, "id": "a", **duplicate}
        await client.say("publish", ref="c", channel="key.activated", data={"n": 2}, id="a")
        assert (await client.refused())["ref"] == "c"
        await client.say("publish", ref="o", channel="key.other", data={"n": 2}, id="a")
        assert (await client.expect("published"))["offset"] == 1, "ids are told apart by channel"


async def test_a_batch_is_published_all_or_none(broker):
    async with listen(broker) as client:
        await client.say("publish", ref="0", channel="key.activated", data=0, id="old")
        await client.expect("published")
        batch = [{"channel": "key.activated", "data": n, "id": str(n)} for n in range(3)]
        await client.say("publish", ref="1", events=batch)
        summary = {"op": "published", "ref": "1", "first_offset": 1, "last_offset": 3, "count": 3, "duplicates": 0}
        assert await client.frame() == summary
        await client.say("publish", ref="2", events=[*batch, {"channel": "key.activated", "data": "new"}])
        assert await client.frame() == {"op": "published", "ref": "2", "first_offset": 4, "last_offset": 4, "count": 4,
                                        "duplicates": 3, "offsets": [1, 2, 3, 4]}
        refused = [
            [{"channel": "key.ok", "data": 1}, {"channel": "not a channel", "data": 1}],
            [{"channel": "key.ok", "data": 1}, {"channel": "key.ok"}],
            [{"channel": "key.ok", "data": 1, "id": "x"}, {"channel": "key.ok", "data": 2, "id": "x"}],
            [{"channel": "key.ok", "data": 1}, {"channel": "key.activated", "data": "other", "id": "old"}],
            [{"channel": "key.ok", "data": 1}, {"channel": "$stentor.x", "data": 1}],
            [],
        ]
        for n, events in enumerate(refused):
            await client.say("publish", ref=f"bad-{n}", events=events)
            error = await client.refused()
            assert error["ref"] == f"bad-{n}"
            assert not events or "2" in error["detail"], f"the second is at fault: {error}"
    assert await end_of(broker) == 5


@pytest.mark.parametrize("fault", [
    {"channel": "not a channel"}, {"channel": ""}, {"channel": "a..b"}, {"channel": "$stentor.x"}, {"id": ""},
    {"id": "with space"}, {"id": "x" * 129}, {"key": ""}, {"key": "a\u0001"}, {"key": "é" * 128}, {"headers": {"Upper": "x"}},
    {"headers": {"a": "b\n"}}, {"headers": {str(n): "" for n in range(33)}}, {"data": "x" * (1 << 20)}, {"channel": None},
    {"nonsense": 1}, {"data_base64": "AA==", "content_type": "text/plain"}, {"content_type": "text/plain"},
], ids=lambda fault: "-".join(f"{k}={str(v)[:12]!r}" for k, v in fault.items()))
async def test_a_refused_publish_is_an_error_with_its_ref_and_names_the_field(broker, fault):
    async with listen(broker) as client:
        await client.say("publish", ref="the ref", **{"channel": "key.activated", "data": {"n": 1}, **fault})
        error = await client.refused()
        assert error["ref"] == "the ref", error
        assert stands_in(next(iter(fault)), error["detail"]), error
    assert await end_of(broker) == 0


async def test_a_publish_that_is_both_one_event_and_a_batch_is_refused(broker):
    async with listen(broker) as client:
        await client.say("publish", ref="1", channel="key.one", data=1, events=[{"channel": "key.two", "data": 2}])
        assert (await client.refused())["ref"] == "1"
    assert await end_of(broker) == 0, "neither is published: the other would be lost without a word"


async def test_a_payload_of_another_content_type_is_published_in_base64(broker):
    async with listen(broker, channels="bin.*") as client:
        await client.expect("subscribed")
        await client.expect("caught_up")
        await client.say("publish", ref="1", events=[{"channel": "bin.x", "content_type": "image/png", "data_base64": "AP8="}])
        frames = {frame["op"]: frame for frame in [await client.frame(), await client.frame()]}
        assert (frames["event"]["content_type"], frames["event"]["data_base64"]) == ("image/png", "AP8=")


async def test_limits_that_are_configured_hold_for_frames_as_for_requests(brokers):
    small = {"STENTOR_LIMITS_MAX_EVENT_SIZE": "1KiB", "STENTOR_LIMITS_MAX_BATCH_SIZE": "4KiB"}
    broker = brokers("small", environment=small).start()
    async with listen(broker) as client:
        await client.say("publish", ref="1", channel="key.activated", data="x" * 2_000)
        assert (await client.refused())["code"] == "too-large"
        events = [{"channel": "key.activated", "data": "x" * 900} for _ in range(10)]
        await client.say("publish", ref="2", events=events)
        assert (await client.refused())["code"] == "too-large"
    assert await end_of(broker) == 0


async def test_ping_is_answered_by_pong(broker):
    async with listen(broker) as client:
        await client.say("ping")
        assert await client.frame() == {"op": "pong"}


# A second subscribe


async def test_a_second_subscribe_of_an_anonymous_session_goes_on_from_its_present_position(broker):
    await publish(broker, 2, channel="a.x")
    async with listen(broker, channels="a.*", **{"from": "earliest"}) as client:
        await start(client, 2)
        await client.say("subscribe", channels=["a.*", "b.*"])
        assert await client.frame() == {"op": "subscribed", "channels": ["a.*", "b.*"], "cursor": 2, "end": 2}
        assert await client.frame() == {"op": "caught_up", "end": 2}
        await publish(broker, 1, channel="b.x")
        await publish(broker, 1, channel="a.x")
        assert await client.events(2) == [2, 3]
        await client.say("subscribe", channels=["b.*"])
        assert (await client.expect("subscribed"))["cursor"] == 4
        await client.expect("caught_up")
        await publish(broker, 1, channel="a.x")
        await publish(broker, 1, channel="b.x")
        assert await client.events(1) == [5]


async def test_the_present_position_is_behind_what_was_published_and_did_not_match(broker):
    async with listen(broker, channels="a.*") as client, listen(broker, channels="**") as witness:
        await start(client, 0)
        await start(witness, 0)
        await publish(broker, 3, channel="b.x")
        assert await witness.events(3) == [0, 1, 2]
        await client.say("subscribe", channels=["b.*"])
        assert await client.frame() == {"op": "subscribed", "channels": ["b.*"], "cursor": 3, "end": 3}
        assert await client.frame() == {"op": "caught_up", "end": 3}


async def test_a_second_subscribe_of_a_durable_session_changes_it_as_put_does_on_the_same_connection(broker):
    await publish(broker, 2, channel="a.x")
    await publish(broker, 2, channel="b.x")
    async with listen(broker, channels="a.*", subscriber="ui", window=9, **{"from": "earliest"}) as client:
        await start(client, 2)
        assert await client.acked(offset=0) == 1
        await client.say("subscribe", channels=["b.*"])
        assert await client.frame() == {
            "op": "subscribed", "channels": ["b.*"], "subscriber": "ui", "cursor": 2, "end": 4}
        assert await client.events(2) == [2, 3]
        assert await client.frame() == {"op": "caught_up", "end": 4}
        await client.say("subscribe", channels=["a.*", "b.*"], subscriber="ui")
        assert (await client.expect("subscribed"))["channels"] == ["a.*", "b.*"]
        assert await client.acked(offset=1) >= 2
    shown = await subscriber(broker, "ui")
    assert shown["channels"] == ["a.*", "b.*"] and shown["window"] == 9
    async with http() as session:
        _, found = await call(session, "GET", broker.url + "/v1/receipts?subscriber=ui&offset=1", expect=200)
        assert [receipt["outcome"] for receipt in found["receipts"]] == ["skipped"], "open, and no longer asked for"


async def test_another_subscriber_or_from_in_a_second_subscribe_is_an_error(broker):
    await publish(broker, 1)
    async with listen(broker, channels="key.*", subscriber="ui") as client:
        await start(client, 0)
        for change in ({"subscriber": "other"}, {"from": "earliest"}, {"subscriber": "ui", "from": 0}):
            await client.say("subscribe", channels=["key.*"], **change)
            await client.refused()
        await publish(broker, 1)
        assert await client.events(1) == [1], "the subscription goes on as it was"
    async with listen(broker, channels="key.*") as client:
        await start(client, 0)
        for change in ({"subscriber": "other"}, {"from": "earliest"}):
            await client.say("subscribe", channels=["key.*"], **change)
            await client.refused()
        await publish(broker, 1)
        assert await client.events(1) == [2]
    async with http() as session:
        status, _ = await call(session, "GET", broker.url + "/v1/subscribers/other")
        assert status == 404


# Takeover, moves, closes


async def test_a_newer_session_takes_over_and_the_older_is_closed_with_4509(broker):
    await publish(broker, 3)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as older:
        await start(older, 3)
        async with listen(broker, channels="key.*", subscriber="ui") as newer:
            assert (await newer.expect("subscribed"))["cursor"] == 0
            assert await newer.events(3) == [0, 1, 2]
            assert await older.closed() == 4509
            await newer.expect("caught_up")
            assert await newer.acked(offset=2) == 3


async def test_a_newer_session_with_other_settings_takes_over_too(broker):
    """Were the older one told to come back, both would take the subscriber from each other for ever."""
    async with listen(broker, channels="key.*", subscriber="ui", window=10) as older:
        await start(older, 0)
        async with listen(broker, channels="key.*", subscriber="ui", window=20) as newer:
            await newer.expect("subscribed")
            assert await older.closed() == 4509


async def test_late_acks_of_a_session_that_was_taken_over_are_refused(broker):
    await publish(broker, 3)
    query = {"channels": "key.*", "subscriber": "ui", "from": "earliest"}
    async with bare(broker, **query) as older:
        for _ in range(5):
            await older.until(1)
        async with listen(broker, **query) as newer:
            await start(newer, 3)
            for late in ({"offset": 2, "confirm": True}, {"offsets": [0]}):
                await older.say("ack", **late)
            await older.say("reject", offset=1)
            assert await older.close_code() == 4509
            await newer.alive()
            shown = await subscriber(broker, "ui")
            assert (shown["cursor"], shown["lag"]) == (0, 3)
            assert await newer.acked(offset=0) == 1


async def test_seek_and_put_end_the_live_session_with_4410_and_the_next_is_at_the_new_place(broker):
    await publish(broker, 5)
    async with listen(broker, channels="key.*", subscriber="ui") as client:
        await start(client, 0)
        assert await post(broker, "/v1/subscribers/ui/seek", {"to": 3}) == (200, {"cursor": 3})
        assert await client.closed() == 4410
    async with listen(broker, subscriber="ui") as client:
        assert (await client.expect("subscribed"))["cursor"] == 3
        assert await client.events(2) == [3, 4]
        assert await client.acked(offset=3) == 4
        status, shown = await make(broker, "ui", channels=["key.*"], window=3, **{"from": "earliest"})
        assert (status, shown["cursor"], shown["window"], shown["ack_timeout"]) == (200, 4, 3, "30s")
        assert await client.closed() == 4410
    async with listen(broker, subscriber="ui") as client:
        assert (await client.expect("subscribed"))["cursor"] == 4


async def test_a_binary_frame_closes_with_1003(broker):
    async with listen(broker, channels="**") as client:
        await start(client, 0)
        await client.socket.send(b'{"op":"ping"}')
        assert await client.closed() == 1003


async def test_a_frame_that_is_too_large_closes_with_1009(broker):
    """Who is cut off without a code comes back and sends it again, for ever."""
    async with bare(broker) as client:
        with contextlib.suppress(ConnectionError):
            await client.send(1, b"x" * (9 << 20))
        assert await client.close_code() == 1009


async def test_text_that_is_not_utf_8_closes_with_1007(broker):
    async with bare(broker) as client:
        await client.send(1, b'{"op":"ping","x":"\xff"}')
        assert await client.close_code() == 1007


async def test_a_frame_of_no_known_kind_closes_with_1002(broker):
    async with bare(broker) as client:
        await client.send(3, b"?")
        assert await client.close_code() == 1002


@pytest.mark.parametrize("text", [
    "", "{", "nonsense", "null", "1", "[]", '["ping",null]', '"ping"', "{}", '{"op":null}', '{"op":1}', '{"op":"nonsense"}',
    '{"op":"PING"}', '{"op":"ping"} {"op":"ping"}', '{"op":"ping","nonsense":1}', '{"op":"ack"}', '{"op":"ack","offset":-1}',
    '{"op":"ack","offset":1.5}', '{"op":"ack","offset":"x"}', '{"op":"ack","offset":0,"offsets":[0]}',
    '{"op":"ack","offset":0,"nonsense":1}', '{"op":"ack","offset":0,"confirm":"yes"}', '{"op":"nack"}',
    '{"op":"nack","offset":0,"delay":"5"}', '{"op":"nack","offset":0,"delay":5}', '{"op":"nack","offset":0,"nonsense":1}',
    '{"op":"reject","offset":0,"reason":5}', '{"op":"reject","offset":0,"nonsense":1}', '{"op":"working"}',
    '{"op":"working","offset":0,"nonsense":1}', '{"op":"subscribe","channels":["**"],"nonsense":1}',
    '{"op":"subscribe","channels":"**"}', '{"op":"subscribe","channels":[]}', '{"op":"publish","channel":"a","data":1,"nonsense":1}',
    '{"op":"publish","events":[["a",1,null,null,{},null,null]]}', '{"op":"publish"}',
])
async def test_what_is_not_the_protocol_is_an_error_and_the_connection_stays_open(broker, text):
    await publish(broker, 1)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 1)
        await client.socket.send(text)
        await client.refused()
        shown = await subscriber(broker, "ui")
        assert (shown["cursor"], shown["open"], shown["end"]) == (0, 1, 1), "it had no effect"


@pytest.mark.parametrize("frame, field", [
    ({"channels": "key.*"}, "channels"), ({"channels": ["a..b"]}, "channels"), ({"channels": []}, "channels"),
    ({"channels": [5]}, "channels"), ({"channels": ["**"], "subscriber": "not a name"}, "subscriber"),
    ({"channels": ["**"], "subscriber": 5}, "subscriber"), ({"channels": ["**"], "from": "nowhere"}, "from"),
    ({"channels": ["**"], "from": 1_000}, "from"), ({"channels": ["**"], "from": -1}, "from"),
    ({"channels": ["**"], "subscriber": "s", "window": 0}, "window"),
    ({"channels": ["**"], "subscriber": "s", "window": "9"}, "window"), ({"channels": ["**"], "window": 0}, "window"),
    ({"channels": ["**"], "subscriber": "s", "ack_timeout": "5"}, "ack_timeout"),
    ({"channels": ["**"], "subscriber": "s", "ack_timeout": 5}, "ack_timeout"),
    ({"channels": ["**"], "batch": 0}, "batch"), ({"channels": ["**"], "batch": "x"}, "batch"), ({}, "channels"),
    ({"subscriber": "new"}, "channels"),
], ids=str)
async def test_a_bad_subscribe_frame_is_an_error_that_names_the_field_and_leaves_the_connection_open(broker, frame, field):
    async with listen(broker) as client:
        await client.say("subscribe", **frame)
        error = await client.refused()
        assert stands_in(field, error["detail"]), error
        await client.say("subscribe", channels=["**"])
        await client.expect("subscribed")


@pytest.mark.parametrize("query, field", [
    ({"nonsense": "1"}, "nonsense"), ({"channels": "**", "nonsense": "1"}, "nonsense"), ({"channels": "a..b"}, "channels"),
    ({"channels": ""}, "channels"), ({"channels": "**.a"}, "channels"), ({"channels": "**", "from": "nowhere"}, "from"),
    ({"channels": "**", "from": "1"}, "from"), ({"channels": "**", "from": ["0", "0"]}, "from"),
    ({"channels": "**", "subscriber": "not a name"}, "subscriber"), ({"channels": "**", "subscriber": ""}, "subscriber"),
    ({"channels": "**", "subscriber": "s", "window": "0"}, "window"), ({"channels": "**", "window": "many"}, "window"),
    ({"channels": "**", "subscriber": "s", "ack_timeout": "5"}, "ack_timeout"),
    ({"channels": "**", "subscriber": "s", "ack_timeout": "0s"}, "ack_timeout"),
    ({"channels": "**", "subscriber": "s", "expires": "soon"}, "expires"), ({"channels": "**", "batch": "0"}, "batch"),
    ({"channels": "**", "batch": "x"}, "batch"), ({"subscriber": "new"}, "channels"), ({"from": "earliest"}, "channels"),
], ids=str)
async def test_bad_query_parameters_are_told_after_the_upgrade_and_then_the_connection_closes_with_4500(broker, query, field):
    async with listen(broker, **query) as client:
        error = await client.expect("error")
        assert error["code"] and stands_in(field, error["detail"]), error
        assert await client.closed() == 4500
    async with http() as session:
        _, found = await call(session, "GET", broker.url + "/v1/subscribers", expect=200)
        assert found["subscribers"] == [], "nobody was made"


async def test_a_connectors_name_is_no_subscriber(broker):
    async with http() as session:
        await call(session, "PUT", broker.url + "/v1/connectors/ems", expect=201,
                   json={"url": f"{broker.url}/nowhere", "channels": ["never.*"]})
    async with listen(broker, channels="**", subscriber="ems") as client:
        error = await client.expect("error")
        assert "ems" in error["detail"], error
        assert await client.closed() == 4500


async def test_a_shutdown_closes_with_1012(broker):
    async with listen(broker, channels="**") as one, listen(broker, channels="**", subscriber="ui") as two, \
            listen(broker) as three:
        await start(one, 0)
        await start(two, 0)
        await three.alive()
        broker.process.send_signal(signal.SIGTERM)
        codes = await asyncio.gather(*(client.closed(30) for client in (one, two, three)))
        assert codes == [1012, 1012, 1012]
    assert await asyncio.to_thread(broker.process.wait, 30) == 0


async def test_the_server_pings_every_25_s_and_closes_with_4408_who_does_not_answer_within_10_s(broker):
    """35 s: the one slow scenario. Who answers stays, who talks is pinged all the same."""
    clock = asyncio.get_running_loop().time

    async def mute():
        async with bare(broker, channels="**") as client:
            began = clock()
            opcode, _ = await client.until(9, 30)
            assert opcode == 9 and 24 <= clock() - began <= 27
            assert await client.close_code(15) == 4408
            assert 34 <= clock() - began <= 38

    async def answering():
        async with bare(broker, channels="**") as client:
            opcode, payload = await client.until(9, 30)
            assert opcode == 9
            await client.send(10, payload)
            opcode, _ = await client.until(9, 30)
            assert opcode == 9, "it is open and pinged once more"

    async def talking():
        async with bare(broker) as client:
            began = clock()
            for at in (8, 16, 24):
                with contextlib.suppress(asyncio.TimeoutError):
                    opcode, _ = await client.until(9, began + at - clock())
                    assert opcode != 9, "too early"
                await client.say("ping")
                assert (await client.until(1))[1] == b'{"op":"pong"}'
            opcode, _ = await client.until(9, began + 28 - clock())
            assert opcode == 9

    outcomes = await asyncio.gather(mute(), answering(), talking(), return_exceptions=True)
    failed = {name: repr(outcome) for name, outcome in zip(("mute", "answering", "talking"), outcomes)
              if isinstance(outcome, BaseException)}
    assert not failed, failed
