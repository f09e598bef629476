"""Server-sent events: PROTOCOL.md section 6, as a browser's EventSource meets it."""

import asyncio
import json

import pytest

from harness import call, eventually, http, refused
from sse import stream

pytestmark = pytest.mark.asyncio


async def publish(session, broker, *payloads, channel="key.activated"):
    for payload in payloads:
        await call(session, "POST", f"{broker.url}/v1/events/{channel}", json=payload, expect=201)


async def subscriber(session, broker, name="ui"):
    return (await call(session, "GET", f"{broker.url}/v1/subscribers/{name}", expect=200))[1]


async def test_a_stream_begins_with_where_it_is_and_when_to_come_back(broker):
    async with http() as session:
        await publish(session, broker, 1, 2)
        async with stream(session, broker, channels="key.*") as events:
            assert events.answer.headers["cache-control"] == "no-store"
            assert events.answer.headers["x-accel-buffering"] == "no"
            assert await events.block() == {"id": "1", "retry": "2000"}
            assert await events.named("caught_up") == {"end": 2}


async def test_each_event_has_its_offset_as_id_and_stands_on_one_line(broker):
    async with http() as session:
        body = '{"a":\n 1,\r\n "b": "x\\ny"}'
        await call(session, "POST", f"{broker.url}/v1/events/key.on", data=body, expect=201)
        _, expected = await call(session, "GET", f"{broker.url}/v1/events/0")
        async with stream(session, broker, channels="key.*", **{"from": "earliest"}) as events:
            assert (await events.block())["id"] == "-1"
            block = await events.block()
            assert set(block) == {"id", "data"} and block["id"] == "0"
            assert block.event == expected


async def test_the_same_stream_is_had_from_events_by_who_accepts_it(broker):
    async with http() as session:
        await publish(session, broker, 1)
        accept = {"accept": "text/event-stream"}
        async with stream(session, broker, path="/v1/events", headers=accept, channels="**", **{"from": 0}) as events:
            assert [event["data"] for event in await events.events(1)] == [1]


async def test_whoever_comes_back_goes_on_behind_the_last_id(broker):
    async with http() as session:
        async with stream(session, broker, channels="**") as events:
            await events.named("caught_up")
            await publish(session, broker, 1, 2, 3)
            assert [event["offset"] for event in await events.events(2)] == [0, 1]
            last = events.last
        await publish(session, broker, 4)
        async with stream(session, broker, channels="**", last=last) as events:
            assert [event["offset"] for event in await events.events(2)] == [2, 3]


async def test_on_an_empty_log_nothing_is_missed_by_who_comes_back(broker):
    async with http() as session:
        async with stream(session, broker, channels="**") as events:
            await events.named("caught_up")
            last = events.last
        await publish(session, broker, 1)
        async with stream(session, broker, channels="**", last=last) as events:
            assert [event["offset"] for event in await events.events(1)] == [0]


async def test_what_does_not_match_moves_the_last_id_too(broker):
    async with http() as session:
        await publish(session, broker, *range(20), channel="other.thing")
        async with stream(session, broker, channels="key.*", **{"from": "earliest"}) as events:
            assert await events.named("caught_up") == {"end": 20}
            assert await events.block() == {"id": "19"}


async def test_coming_back_acknowledges_for_a_durable_subscriber(broker):
    async with http() as session:
        query = {"channels": "key.*", "subscriber": "ui", "from": "earliest"}
        await publish(session, broker, 1, 2, 3)
        async with stream(session, broker, **query) as events:
            assert [event["offset"] for event in await events.events(3)] == [0, 1, 2]
        assert (await subscriber(session, broker))["cursor"] == 0, "nothing is acknowledged by being sent"
        async with stream(session, broker, last=1, **query) as events:
            assert [event["offset"] for event in await events.events(1)] == [2]
            assert (await subscriber(session, broker))["cursor"] == 2
        _, receipts = await call(session, "GET", f"{broker.url}/v1/events/1/receipts", expect=200)
        assert [(each["subscriber"], each["state"]) for each in receipts["receipts"]] == [("ui", "acked")]


async def test_nothing_is_sent_twice_on_a_stream_and_a_full_window_ends_it(broker):
    async with http() as session:
        await publish(session, broker, *range(6))
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
        assert (await subscriber(session, broker))["lag"] == 0


async def test_an_event_that_waits_too_long_for_its_ack_ends_the_stream_and_comes_again(broker):
    async with http() as session:
        await publish(session, broker, 1)
        query = {"channels": "key.*", "subscriber": "ui", "from": "earliest", "ack_timeout": "1s"}
        async with stream(session, broker, **query) as events:
            assert [event["offset"] for event in await events.events()] == [0]
            assert events.retry == 100
        async with stream(session, broker, **query) as events:
            assert [event["offset"] for event in await events.events(1)] == [0]


async def test_acks_may_come_over_http_and_keep_the_stream_open(broker):
    async with http() as session:
        query = {"channels": "key.*", "subscriber": "ui", "window": "2"}
        async with stream(session, broker, **query) as events:
            await events.named("caught_up")
            for offset in range(3):
                await publish(session, broker, offset)
                assert [event["offset"] for event in await events.events(1)] == [offset]
                acked = await call(session, "POST", f"{broker.url}/v1/subscribers/ui/ack", json={"offset": offset})
                assert acked == (200, {"cursor": offset + 1})


async def test_a_newer_stream_takes_over_and_the_older_is_told(broker):
    async with http() as session:
        query = {"channels": "key.*", "subscriber": "ui"}
        async with stream(session, broker, **query) as older:
            await older.named("caught_up")
            async with stream(session, broker, **query) as newer:
                await older.named("taken_over")
                assert older.retry == 30000
                assert await older.block() is None
                await publish(session, broker, 1)
                assert [event["offset"] for event in await newer.events(1)] == [0]


@pytest.mark.parametrize("was_there", [True, False])
async def test_after_a_seek_coming_back_does_not_acknowledge_what_was_had_before(broker, was_there):
    async with http() as session:
        await publish(session, broker, *range(5))
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
    return not (await subscriber(session, broker))["connected"]


async def test_what_an_earlier_life_sent_is_acknowledged_by_coming_back(broker):
    async with http() as session:
        await publish(session, broker, *range(3))
        query = {"channels": "key.*", "subscriber": "ui", "from": "earliest"}
        async with stream(session, broker, **query) as events:
            await events.events(3)
            last = events.last
        broker.kill()
        broker.start()
        async with stream(session, broker, last=last, **query) as events:
            await events.named("caught_up")
        assert (await subscriber(session, broker))["cursor"] == 3
        _, receipts = await call(session, "GET", f"{broker.url}/v1/events/2/receipts", expect=200)
        assert [each["state"] for each in receipts["receipts"]] == ["acked"]


async def test_a_silent_stream_shows_every_15_s_that_it_lives(broker):
    async with http() as session:
        async with stream(session, broker, channels="key.*") as events:
            await events.named("caught_up")
            assert await events.block(within=20) == {"comment": ""}


async def test_bad_parameters_are_problems(broker):
    async with http() as session:
        url = f"{broker.url}/v1/sse"
        await refused(session, "GET", url, 400, "channels-invalid")
        await refused(session, "GET", f"{url}?channels=a..b", 400, "channels-invalid")
        await refused(session, "GET", f"{url}?channels=a&limit=3", 400, "parameter-unknown")
        await refused(session, "GET", f"{url}?channels=a&from=7", 400, "offset-beyond-end")
        await refused(session, "GET", f"{url}?channels=a&window=0&subscriber=x", 400, "window-invalid")
        await refused(session, "GET", f"{url}?subscriber=nobody", 400, "channels-invalid")
        for last in ("x", "1.5", "-2"):
            problem = await refused(session, "GET", f"{url}?channels=a", 400, "last-event-id-invalid",
                                    headers={"last-event-id": last})
            assert problem["field"] == "last_event_id"
        await refused(session, "GET", f"{url}?channels=a", 400, "offset-beyond-end", headers={"last-event-id": "5"})
        await refused(session, "POST", url, 405, "method-not-allowed")


async def test_a_broker_that_ends_sends_its_streams_back_later(broker):
    async with http() as session:
        async with stream(session, broker, channels="**") as events:
            await events.named("caught_up")
            stopping = asyncio.create_task(asyncio.to_thread(broker.stop))
            assert await events.events(within=20) == []
            assert events.retry == 2000
            await stopping


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
    return (await subscriber(session, broker))["lag"] == 0
