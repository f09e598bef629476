"""PROTOCOL.md section 5: what the server sends of events: `event`, `events`, `caught_up` and `gap`."""

import asyncio
import base64
import json

import pytest

from harness import call, eventually, http
from talking import listen, publish


async def test_an_event_frame_is_the_event_and_op_with_attempt_only_from_2_on(broker):
    headers = {"idempotency-key": "id-1", "stentor-key": "k", "stentor-header-a": "b"}
    async with http() as session:
        await call(session, "POST", broker.url + "/v1/events/key.on", json={"x": [1]}, headers=headers, expect=201)
        await call(session, "POST", broker.url + "/v1/events/key.on", json=None, expect=201)
        events = [(await call(session, "GET", f"{broker.url}/v1/events/{n}", expect=200))[1] for n in range(2)]
    assert set(events[0]) == {"offset", "id", "channel", "time", "key", "headers", "data"}
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await client.expect("subscribed")
        assert [await client.frame(), await client.frame()] == [{"op": "event", **event} for event in events]
        await client.expect("caught_up")
        for attempt in (2, 3):
            await client.say("nack", offset=1)
            assert await client.frame() == {"op": "event", **events[1], "attempt": attempt}


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
        await client.socket.send('{"op":"publish","channel":"key.on","data":{"a":\r\n1,\n"b":"x\\n"}}')
        assert any('"data":{"a":  1, "b":"x\\n"}' in text for text in [await client.text(), await client.text()])


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


async def test_a_listener_gets_an_event_once_however_many_of_its_patterns_match(broker):
    async with listen(broker, channels="key.*,key.activated,**,key.**") as client:
        await client.expect("subscribed")
        await client.expect("caught_up")
        await publish(broker, 3)
        assert await client.events(3) == [0, 1, 2]
        await client.silent()


async def test_who_asked_with_batch_gets_events_in_place_of_single_ones_at_most_so_many_in_a_frame(broker):
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


async def test_caught_up_comes_after_every_matching_event_below_its_end_and_before_any_at_or_above_it(broker):
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


@pytest.mark.parametrize("batch", [{}, {"batch": 100}], ids=["single", "batch"])
async def test_gap_comes_for_offsets_that_retention_took_in_their_place(halved, batch):
    async with listen(halved, channels="old.*", **{"from": 0}, **batch) as client:
        assert await client.frame() == {"op": "subscribed", "channels": ["old.*"], "cursor": 0, "end": 8}
        assert await client.frame() == {"op": "gap", "from": 0, "to": 4}
        if batch:
            offsets = []
            while len(offsets) < 4:
                offsets += [event["offset"] for event in (await client.expect("events"))["events"]]
        else:
            offsets = await client.events(4)
        assert offsets == [4, 5, 6, 7]
        assert await client.frame() == {"op": "caught_up", "end": 8}


async def test_reading_below_the_start_begins_at_the_start_and_the_gap_is_told_from_there(halved):
    async with listen(halved, channels="old.*", **{"from": 2}) as client:
        await client.expect("subscribed")
        assert await client.frame() == {"op": "gap", "from": 2, "to": 4}
        assert await client.events(4) == [4, 5, 6, 7]
    async with listen(halved, channels="old.*", **{"from": "earliest"}) as client:
        assert (await client.expect("subscribed"))["cursor"] == 4
        assert await client.events(4) == [4, 5, 6, 7], "from the start on nothing is missing"


async def test_a_subscriber_is_told_what_retention_took_that_it_had_not_acknowledged(halved):
    for attempt in (None, 2):
        async with listen(halved, subscriber="late") as client:
            assert await client.frame() == {
                "op": "subscribed", "channels": ["old.*"], "subscriber": "late", "cursor": 4, "end": 8}
            assert await client.frame() == {"op": "gap", "from": 0, "to": 4}, "until it has acknowledged"
            events = [await client.expect("event") for _ in range(4)]
            assert [(event["offset"], event.get("attempt")) for event in events] == [(n, attempt) for n in (4, 5, 6, 7)]
            await client.expect("caught_up")
            if attempt:
                assert await client.acked(offset=3) == 4, "a gap can be acknowledged as an event can"
    async with listen(halved, subscriber="late") as client:
        await client.expect("subscribed")
        assert await client.events(4) == [4, 5, 6, 7]


async def test_a_live_listener_too_is_told_what_retention_took_before_it_came_to_it_never_silence(brokers):
    """More than the broker keeps in memory: what it does may be delivered although its segment is gone."""
    settings = {"STENTOR_SEGMENTS_EVENTS": "8MiB", "STENTOR_RETENTION_MAX_BYTES": "8MiB"}
    broker = brokers("slow", environment=settings).start()
    async with http() as session, listen(broker, channels="old.*", subscriber="ui", window=1) as client:
        await client.expect("subscribed")
        await client.expect("caught_up")
        for _ in range(3):
            batch = [{"channel": "old.x", "data": "x" * 900_000} for _ in range(8)]
            await call(session, "POST", f"{broker.url}/v1/events", json=batch, expect=201)
        assert await client.events(1) == [0]

        async def gap():
            _, page = await call(session, "GET", f"{broker.url}/v1/events?from=0&limit=1", expect=200)
            return page.get("gap", {}).get("to", 0) >= 8 and page["gap"]
        await eventually(gap, what="the oldest segment is gone")
        told, gaps = [0], []
        await client.say("ack", offset=0)
        while told[-1] < 23:
            frame = await client.frame()
            if frame["op"] == "gap":
                gaps.append(frame)
                told += range(max(frame["from"], told[-1] + 1), frame["to"])
            else:
                assert frame["op"] == "event", frame
                told.append(frame["offset"])
                await client.say("ack", offset=frame["offset"])
    assert told == list(range(24)), f"some were neither delivered nor told as a gap: {told}, {gaps}"
    assert gaps and gaps[0]["to"] >= 8, gaps


async def test_a_listener_that_takes_nothing_for_a_while_misses_nothing(broker):
    async with listen(broker, channels="key.*") as client:
        await client.expect("subscribed")
        await client.expect("caught_up")
        for first in range(0, 10_000, 1_000):
            await publish(broker, 1_000, first=first)
        assert await client.events(10_000) == list(range(10_000))
