"""PROTOCOL.md section 6: server-sent events, as a browser's EventSource meets them."""

import asyncio
import contextlib

import pytest

from harness import call, http, refused
from sse import stream
from talking import publish


async def quiet(events, within=0.4):
    """Nothing comes for a while."""
    with pytest.raises(TimeoutError):
        block = await events.block(within)
        raise AssertionError(f"nothing was due, and this came: {block}")


async def test_first_comes_a_block_with_only_id_and_retry_2000(broker):
    async with http() as session:
        await publish(broker, 2)
        async with stream(session, broker, channels="key.*") as events:
            assert events.answer.headers["cache-control"] == "no-store"
            assert events.answer.headers["x-accel-buffering"] == "no"
            assert await events.block() == {"id": "1", "retry": "2000"}
            assert await events.named("caught_up") == {"end": 2}


@pytest.mark.parametrize("place, first", [("0", "-1"), ("3", "2"), ("latest", "4"), (None, "4"), ("2020-01-01T00:00:00Z", "-1")])
async def test_the_first_id_is_the_offset_before_the_first_event_that_comes(broker, place, first):
    async with http() as session:
        await publish(broker, 5)
        async with stream(session, broker, channels="key.*", **({"from": place} if place else {})) as events:
            assert await events.block() == {"id": first, "retry": "2000"}
            count = 4 - int(first)
            assert [event["offset"] for event in await events.events(count)] == list(range(5 - count, 5))
            assert await events.block() == {"event": "caught_up", "data": '{"end":5}'}


async def test_each_event_has_its_offset_as_id_and_its_data_on_one_line_and_no_event(broker):
    async with http() as session:
        body = '{"a":\n 1,\r\n "b": "x\\ny"}'
        await call(session, "POST", f"{broker.url}/v1/events/key.on", data=body, expect=201)
        _, expected = await call(session, "GET", f"{broker.url}/v1/events/0")
        async with stream(session, broker, channels="key.*", **{"from": "earliest"}) as events:
            assert (await events.block())["id"] == "-1"
            block = await events.block()
            assert set(block) == {"id", "data"} and block["id"] == "0"
            assert block.event == expected


async def test_the_same_is_had_from_events_with_accept_text_event_stream(broker):
    async with http() as session:
        await publish(broker, 1)
        accept = {"accept": "text/event-stream"}
        async with stream(session, broker, path="/v1/events", headers=accept, channels="**", **{"from": 0}) as events:
            assert [event["data"] for event in await events.events(1)] == [0]


async def test_a_list_of_channels_is_comma_separated_or_repeated_and_an_event_comes_once(broker):
    async with http() as session:
        await publish(broker, 1, channel="a.x")
        await publish(broker, 1, channel="c.x")
        await publish(broker, 1, channel="b.x")
        for channels in ("a.*,b.*,a.x", ["a.*", "b.*", "a.x"]):
            async with stream(session, broker, channels=channels, **{"from": "earliest"}) as events:
                assert [event["offset"] for event in await events.events(2)] == [0, 2]
                assert await events.named("caught_up") == {"end": 3}
                await quiet(events)


async def test_caught_up_and_gap_come_as_named_events_without_an_id(halved):
    async with http() as session:
        async with stream(session, halved, channels="old.*", **{"from": "0"}) as events:
            blocks = [await events.block()]
            while blocks[-1].get("event") != "caught_up":
                blocks.append(await events.block())
        named = [block for block in blocks if "event" in block]
        assert named == [{"event": "gap", "data": '{"from":0,"to":4}'}, {"event": "caught_up", "data": '{"end":8}'}]
        assert [int(block["id"]) for block in blocks if "data" in block and "event" not in block] == [4, 5, 6, 7]
        assert blocks.index(named[0]) == 1, "the gap is told in its place"


async def test_last_event_id_resumes_after_that_offset(broker):
    async with http() as session:
        async with stream(session, broker, channels="**") as events:
            await events.named("caught_up")
            await publish(broker, 3)
            assert [event["offset"] for event in await events.events(2)] == [0, 1]
            last = events.last
        await publish(broker, 1)
        async with stream(session, broker, channels="**", last=last) as events:
            assert [event["offset"] for event in await events.events(2)] == [2, 3]


@pytest.mark.parametrize("place", ["earliest", "0", "latest", "3"])
async def test_last_event_id_wins_over_from(broker, place):
    async with http() as session:
        await publish(broker, 5)
        async with stream(session, broker, channels="key.*", last=1, **{"from": place}) as events:
            assert await events.block() == {"id": "1", "retry": "2000"}
            assert [event["offset"] for event in await events.events(3)] == [2, 3, 4]


async def test_on_an_empty_log_nothing_is_missed_by_who_comes_back(broker):
    async with http() as session:
        async with stream(session, broker, channels="**") as events:
            await events.named("caught_up")
            last = events.last
        await publish(broker, 1)
        async with stream(session, broker, channels="**", last=last) as events:
            assert [event["offset"] for event in await events.events(1)] == [0]


async def test_on_filtered_streams_an_id_block_comes_as_progress(broker):
    async with http() as session:
        await publish(broker, 20, channel="other.thing")
        async with stream(session, broker, channels="key.*", **{"from": "earliest"}) as events:
            assert await events.named("caught_up") == {"end": 20}
            assert await events.block() == {"id": "19"}


async def watched(events, until):
    """Every block that comes up to that time of the clock, and when."""
    clock = asyncio.get_running_loop().time
    came = []
    with contextlib.suppress(TimeoutError):
        while True:
            block = await events.block(until - clock())
            came.append((clock(), block))
    return came


async def test_a_comment_comes_every_15_s_and_progress_on_filtered_streams(broker):
    """The slow one: 15 s in which nothing is published, and 15 s in which something is all the time."""
    async def trickle():
        while True:
            await publish(broker, 1, channel="other")
            await asyncio.sleep(0.2)

    async with http() as session:
        async with stream(session, broker, channels="key.*") as filtered, stream(session, broker, channels="other") as busy:
            began = asyncio.get_running_loop().time()
            await filtered.named("caught_up")
            await busy.named("caught_up")
            silent = await asyncio.gather(watched(filtered, began + 17), watched(busy, began + 17))
            assert [[block for _, block in came] for came in silent] == [[{"comment": ""}], [{"comment": ""}]]
            first = silent[1][0][0]
            assert 14 < first - began < 17
            trickling = asyncio.create_task(trickle())
            progress, live = await asyncio.gather(watched(filtered, began + 34), watched(busy, began + 34))
            trickling.cancel()
    comments = [at for at, block in live if "comment" in block]
    assert len(comments) == 1 and 13 < comments[0] - first < 19, "on a stream that is never silent too"
    ids = [int(block["id"]) for _, block in progress if set(block) == {"id"}]
    assert ids and ids == sorted(set(ids)) and ids[-1] > 10, progress


async def test_a_comment_comes_every_15_s_beside_the_progress_of_a_filtered_stream_too(broker):
    async with http() as session:
        async with stream(session, broker, channels="key.*") as events:
            began = asyncio.get_running_loop().time()
            await events.named("caught_up")
            await publish(broker, 3, channel="other")
            came = [block for _, block in await watched(events, began + 17)]
    assert {"id": "2"} in came, came
    assert {"comment": ""} in came, came


async def test_other_refusals_are_problems(broker):
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
        connector = {"url": f"{broker.url}/nowhere", "channels": ["never.*"]}
        await call(session, "PUT", f"{broker.url}/v1/connectors/ems", json=connector, expect=201)
        await refused(session, "GET", f"{url}?channels=a&subscriber=ems", 409, "name-of-other-kind")


async def test_on_shutdown_a_stream_gets_retry_and_the_end(broker):
    async with http() as session:
        async with stream(session, broker, channels="**") as events:
            await events.named("caught_up")
            stopping = asyncio.create_task(asyncio.to_thread(broker.stop))
            assert await events.events(within=20) == []
            assert events.retry == 2000
            await stopping


async def test_on_shutdown_the_answer_to_a_new_stream_is_200_with_retry_and_the_end(brokers):
    """A request whose last bytes come when the broker is ending."""
    broker = brokers(environment={"STENTOR_DRAIN": "8s"}).start()
    async with http() as session:
        async with stream(session, broker, channels="key.*") as witness:
            await witness.named("caught_up")
            reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
            writer.write(b"GET /v1/sse?channels=key.* HTTP/1.1\r\nHost: stentor\r\nConnection: close\r\n\r")
            await writer.drain()
            # Connections are taken in their order: with this one answered, the one before is the broker's.
            await call(session, "GET", broker.url + "/health/live", headers={"connection": "close"}, expect=200)
            stopping = asyncio.create_task(asyncio.to_thread(broker.stop))
            assert await witness.events() == []
            writer.write(b"\n")
            head, _, body = (await asyncio.wait_for(reader.read(), 10)).decode().partition("\r\n\r\n")
            writer.close()
            await stopping
    assert head.startswith("HTTP/1.1 200 ") and "content-type: text/event-stream" in head.lower(), head
    retry = int(body.split("retry: ")[1].split("\n")[0])
    assert f"retry: {retry}\n\n" in body and retry >= 1000 and "data:" not in body, body


async def test_on_overload_the_answer_is_200_with_retry_and_the_end(brokers):
    broker = brokers(environment={"STENTOR_LIMITS_MAX_CONNECTIONS_PER_ADDRESS": "3"}).start()
    async with http() as session, contextlib.AsyncExitStack() as held:
        for _ in range(3):
            events = await held.enter_async_context(stream(session, broker, channels="key.*"))
            await events.named("caught_up")
        for path, headers in (("/v1/sse", {}), ("/v1/events", {"accept": "text/event-stream"})):
            async with stream(session, broker, path=path, headers=headers, channels="key.*") as sent_away:
                assert await sent_away.block() == {"retry": "5000"}
                assert await sent_away.block() is None
