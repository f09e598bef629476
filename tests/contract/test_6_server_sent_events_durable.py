"""PROTOCOL.md section 6 for durable subscribers: the browser's own return acknowledges."""

import asyncio
import json

import pytest

from harness import call, eventually, http, refused
from sse import stream
from talking import listen, make, post, publish, start, subscriber


async def test_a_subscriber_is_made_on_the_spot_with_what_the_query_says(broker):
    await publish(broker, 4)
    query = {"channels": "key.*", "subscriber": "ui", "from": "1", "window": "7", "ack_timeout": "9s"}
    async with http() as session:
        async with stream(session, broker, **query) as events:
            assert [event["offset"] for event in await events.events(3)] == [1, 2, 3]
            shown = await subscriber(broker, "ui")
            assert {name: shown[name] for name in ("kind", "channels", "window", "ack_timeout", "expires", "connected")} == {
                "kind": "subscriber", "channels": ["key.*"], "window": 7, "ack_timeout": "9s", "expires": None,
                "connected": True}
        async with stream(session, broker, subscriber="ui", window="8", **{"from": "latest"}) as events:
            assert [event["offset"] for event in await events.events(3)] == [1, 2, 3], "from is for new ones"
        shown = await subscriber(broker, "ui")
        assert (shown["channels"], shown["window"], shown["ack_timeout"]) == (["key.*"], 8, "9s")
        await refused(session, "GET", f"{broker.url}/v1/sse?subscriber=new", 400, "channels-invalid")


async def test_last_event_id_is_the_ack_of_everything_up_to_it(broker):
    async with http() as session:
        query = {"channels": "key.*", "subscriber": "ui", "from": "earliest"}
        await publish(broker, 3)
        async with stream(session, broker, **query) as events:
            assert [event["offset"] for event in await events.events(3)] == [0, 1, 2]
        assert (await subscriber(broker, "ui"))["cursor"] == 0, "nothing is acknowledged by being sent"
        async with stream(session, broker, last=1, **query) as events:
            assert [event["offset"] for event in await events.events(1)] == [2]
            assert (await subscriber(broker, "ui"))["cursor"] == 2
        _, receipts = await call(session, "GET", f"{broker.url}/v1/events/1/receipts", expect=200)
        assert [(each["subscriber"], each["state"]) for each in receipts["receipts"]] == [("ui", "acked")]


async def test_it_is_the_ack_whichever_session_it_was_sent_to(broker):
    """A WebSocket had three of them, a pull two more."""
    await publish(broker, 5)
    query = {"channels": "key.*", "subscriber": "ui", "from": "earliest", "window": "3"}
    async with http() as session:
        async with listen(broker, **query) as client:
            await client.expect("subscribed")
            assert await client.events(3) == [0, 1, 2]
        async with stream(session, broker, last=2, **query) as events:
            assert [event["offset"] for event in await events.events(2)] == [3, 4]
            assert (await subscriber(broker, "ui"))["cursor"] == 3
        _, pulled = await post(broker, "/v1/subscribers/ui/pull", {"takeover": True})
        assert [event["offset"] for event in pulled["events"]] == [3, 4]
        async with stream(session, broker, last=4, **query) as events:
            await events.named("caught_up")
            assert (await subscriber(broker, "ui"))["cursor"] == 5


async def test_what_an_earlier_life_sent_is_acknowledged_by_coming_back(broker):
    async with http() as session:
        await publish(broker, 3)
        query = {"channels": "key.*", "subscriber": "ui", "from": "earliest"}
        async with stream(session, broker, **query) as events:
            await events.events(3)
            last = events.last
        broker.kill()
        broker.start()
        async with stream(session, broker, last=last, **query) as events:
            await events.named("caught_up")
        assert (await subscriber(broker, "ui"))["cursor"] == 3
        _, receipts = await call(session, "GET", f"{broker.url}/v1/events/2/receipts", expect=200)
        assert [each["state"] for each in receipts["receipts"]] == ["acked"]


async def test_nothing_is_delivered_twice_on_one_stream_and_a_full_window_ends_the_response_with_retry_100(broker):
    async with http() as session:
        await publish(broker, 6)
        query = {"channels": "key.*", "subscriber": "ui", "from": "earliest", "window": "3"}
        seen, last = [], None
        for _ in range(2):
            async with stream(session, broker, last=last, **query) as events:
                seen += [event["offset"] for event in await events.events()]
                last = events.last
                assert events.retry == 100
        assert seen == list(range(6))
        async with stream(session, broker, last=last, **query) as events:
            await events.named("caught_up")
        assert (await subscriber(broker, "ui"))["lag"] == 0


async def test_the_response_ends_when_the_window_is_full_though_nothing_waits_behind_it(broker):
    await publish(broker, 3)
    async with http() as session:
        query = {"channels": "key.*", "subscriber": "ui", "from": "earliest", "window": "3"}
        async with stream(session, broker, **query) as events:
            assert [event["offset"] for event in await events.events(within=5)] == [0, 1, 2]
            assert (events.retry, events.last) == (100, "2")


async def test_the_response_ends_when_its_oldest_open_event_is_older_than_ack_timeout_with_retry_100(broker):
    async with http() as session:
        await publish(broker, 1)
        query = {"channels": "key.*", "subscriber": "ui", "from": "earliest", "ack_timeout": "1s"}
        async with stream(session, broker, **query) as events:
            assert [event["offset"] for event in await events.events()] == [0]
            assert events.retry == 100
        async with stream(session, broker, **query) as events:
            assert [event["offset"] for event in await events.events(1)] == [0]


async def test_an_anonymous_stream_has_no_window_and_no_ack_and_is_not_ended(broker):
    await publish(broker, 1_000)
    async with http() as session:
        async with stream(session, broker, channels="key.*", window="3", **{"from": "earliest"}) as events:
            assert [event["offset"] for event in await events.events(1_000)] == list(range(1_000))
            assert await events.named("caught_up") == {"end": 1_000}
            await publish(broker, 1)
            assert [event["offset"] for event in await events.events(1)] == [1_000]


async def test_acks_may_come_over_post_ack_at_any_time_and_keep_the_stream_open(broker):
    async with http() as session:
        query = {"channels": "key.*", "subscriber": "ui", "window": "2"}
        async with stream(session, broker, **query) as events:
            await events.named("caught_up")
            for offset in range(3):
                await publish(broker, 1)
                assert [event["offset"] for event in await events.events(1)] == [offset]
                acked = await call(session, "POST", f"{broker.url}/v1/subscribers/ui/ack", json={"offset": offset})
                assert acked == (200, {"cursor": offset + 1})


async def test_acks_over_post_ack_count_when_the_stream_is_over_too(broker):
    await publish(broker, 2)
    async with http() as session:
        query = {"channels": "key.*", "subscriber": "ui", "from": "earliest"}
        async with stream(session, broker, **query) as events:
            await events.events(2)
        await eventually(lambda: gone(session, broker), what="the stream has ended")
        assert await post(broker, "/v1/subscribers/ui/ack", {"offset": 0}) == (200, {"cursor": 1})
        assert await post(broker, "/v1/subscribers/ui/ack", {"offsets": [1]}) == (200, {"cursor": 2})
        assert (await post(broker, "/v1/subscribers/ui/ack", {"offset": 2}))[0] == 409, "it was never sent"
        async with stream(session, broker, **query) as events:
            assert await events.block() == {"id": "1", "retry": "2000"}
            assert await events.named("caught_up") == {"end": 2}


async def test_whoever_is_changed_by_put_gets_the_end_and_comes_back_soon(broker):
    await publish(broker, 2)
    async with http() as session:
        query = {"subscriber": "ui", "from": "earliest"}
        async with stream(session, broker, channels="key.*", **query) as events:
            await events.events(2)
            await events.named("caught_up")
            status, _ = await make(broker, "ui", channels=["key.*", "other"])
            assert status == 200
            assert await events.block() == {"id": "-1", "retry": "100"}, "the cursor stays"
            assert await events.block() is None


async def test_a_session_that_is_taken_over_gets_taken_over_retry_30000_and_the_end(broker):
    async with http() as session:
        query = {"channels": "key.*", "subscriber": "ui"}
        async with stream(session, broker, **query) as older:
            await older.named("caught_up")
            async with stream(session, broker, **query) as newer:
                assert await older.block() == {"event": "taken_over", "retry": "30000", "data": "{}"}, "without an id"
                assert await older.block() is None
                await publish(broker, 1)
                assert [event["offset"] for event in await newer.events(1)] == [0]


async def test_a_subscriber_is_told_what_retention_took_and_comes_back_from_behind_it(halved):
    async with http() as session:
        async with stream(session, halved, subscriber="late") as events:
            await events.block()
            block = await events.block()
            assert block == {"event": "gap", "data": '{"from":0,"to":4}'}, "a named event without an id"
            assert [event["offset"] for event in await events.events(4)] == [4, 5, 6, 7]
            last = events.last
        async with stream(session, halved, subscriber="late", last=last) as events:
            assert await events.block() == {"id": "7", "retry": "2000"}
            assert await events.block() == {"event": "caught_up", "data": '{"end":8}'}
    assert (await subscriber(halved, "late"))["cursor"] == 8


@pytest.mark.parametrize("was_there", [True, False])
async def test_after_a_seek_coming_back_does_not_acknowledge_what_was_had_before(broker, was_there):
    async with http() as session:
        await publish(broker, 5)
        query = {"channels": "key.*", "subscriber": "ui", "from": "earliest"}
        async with stream(session, broker, **query) as events:
            await events.events(5)
            if was_there:
                assert await seek(session, broker, 2) == (200, {"cursor": 2})
                assert await events.events() == []
                assert events.last == "1", "whoever is there is told where it stands now"
            last = events.last
        if not was_there:
            await eventually(lambda: gone(session, broker), what="the stream has ended")
            assert await seek(session, broker, 2) == (200, {"cursor": 2})
        async with stream(session, broker, last=last, **query) as events:
            assert [event["offset"] for event in await events.events(3)] == [2, 3, 4]


async def seek(session, broker, to):
    return await call(session, "POST", f"{broker.url}/v1/subscribers/ui/seek", json={"to": to})


async def gone(session, broker):
    return not (await subscriber(broker, "ui"))["connected"]


async def test_a_thousand_events_arrive_once_each_in_order_while_streams_are_cut(broker):
    async with http() as session:
        query = {"channels": "load.*", "subscriber": "ui", "from": "earliest", "window": "64"}

        async def publishing():
            for start in range(0, 1000, 50):
                lines = [json.dumps({"channel": "load.x", "data": n}) for n in range(start, start + 50)]
                await call(session, "POST", f"{broker.url}/v1/events", data="\n".join(lines),
                           headers={"content-type": "application/x-ndjson"}, expect=201)

        publisher = asyncio.create_task(publishing())
        seen, last = [], None
        while len(seen) < 1000:
            async with stream(session, broker, last=last, **query) as events:
                while len(seen) < 1000 and (block := await events.block()) is not None:
                    if "data" in block and "event" not in block:
                        seen.append(block.event["data"])
                        if len(seen) % 173 == 0:
                            break
                last = events.last
        await publisher
        assert seen == list(range(1000))
        async with stream(session, broker, last=last, **query) as events:
            await events.named("caught_up")
        await eventually(lambda: caught_up(session, broker), what="everything is acknowledged")


async def caught_up(session, broker):
    return (await subscriber(broker, "ui"))["lag"] == 0
