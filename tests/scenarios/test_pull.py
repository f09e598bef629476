"""Pull: a listener that asks instead of staying connected. PROTOCOL.md section 4."""

import asyncio

import pytest
import websockets

from harness import call, eventually, http, refused
from sse import stream

pytestmark = pytest.mark.asyncio


async def publish(client, broker, *payloads, channel="job.made"):
    for payload in payloads:
        await call(client, "POST", f"{broker.url}/v1/events/{channel}", json=payload, expect=201)


async def worker(client, broker, name="worker", **settings):
    settings = {"channels": ["job.*"], "from": "earliest", **settings}
    await call(client, "PUT", f"{broker.url}/v1/subscribers/{name}", json=settings, expect=201)


async def pull(client, broker, name="worker", **asked):
    _, pulled = await call(client, "POST", f"{broker.url}/v1/subscribers/{name}/pull", json=asked, expect=200)
    return pulled


async def ack(client, broker, name="worker", **said):
    return await call(client, "POST", f"{broker.url}/v1/subscribers/{name}/ack", json=said)


def offsets(pulled):
    return [event["offset"] for event in pulled["events"]]


async def test_the_first_pull_opens_a_session_and_each_gives_the_next_events(broker):
    async with http() as client:
        await worker(client, broker)
        await publish(client, broker, *range(5))
        first = await pull(client, broker, max=2)
        assert set(first) == {"session", "events", "cursor"} and first["session"]
        assert (offsets(first), first["cursor"]) == ([0, 1], 0)
        second = await pull(client, broker, max=2, session=first["session"])
        assert (offsets(second), second["session"]) == ([2, 3], first["session"])
        assert await ack(client, broker, offset=1, session=first["session"]) == (200, {"cursor": 2})
        third = await pull(client, broker, session=first["session"])
        assert (offsets(third), third["cursor"]) == ([4], 2)
        assert offsets(await pull(client, broker, session=first["session"])) == []
        _, expected = await call(client, "GET", f"{broker.url}/v1/events/4")
        assert third["events"] == [expected]


async def test_what_was_published_before_a_pull_is_in_it(broker):
    async with http() as client:
        await worker(client, broker)
        assert (await pull(client, broker))["events"] == []
        for n in range(200):
            await publish(client, broker, n, channel="job.made" if n % 2 else "other.thing")
            assert offsets(await pull(client, broker)) == ([n] if n % 2 else [])
            if n % 2:
                await ack(client, broker, offset=n)


async def test_without_a_session_pulls_go_on_with_the_one_that_lives(broker):
    async with http() as client:
        await worker(client, broker)
        await publish(client, broker, *range(3))
        first = await pull(client, broker, max=1)
        second = await pull(client, broker, max=1)
        assert (offsets(second), second["session"]) == ([1], first["session"])
        assert await ack(client, broker, offset=1) == (200, {"cursor": 2})


async def test_an_ack_of_some_leaves_the_others_open(broker):
    async with http() as client:
        await worker(client, broker)
        await publish(client, broker, *range(4))
        pulled = await pull(client, broker)
        assert await ack(client, broker, offsets=[1, 3], session=pulled["session"]) == (200, {"cursor": 0})
        assert await ack(client, broker, offset=2, session=pulled["session"]) == (200, {"cursor": 4})


async def test_a_pull_waits_for_the_next_event(broker):
    async with http() as client:
        await worker(client, broker)
        waiting = asyncio.create_task(pull(client, broker, wait="30s"))
        await eventually(lambda: connected(client, broker), what="the pull has its session")
        await publish(client, broker, "now")
        assert [event["data"] for event in (await waiting)["events"]] == ["now"]


async def test_a_wait_that_is_over_answers_empty(broker):
    async with http() as client:
        await worker(client, broker)
        assert (await pull(client, broker, wait="200ms"))["events"] == []


async def test_with_the_window_full_it_waits_then_answers_empty(broker):
    async with http() as client:
        await worker(client, broker, window=2)
        await publish(client, broker, *range(3))
        first = await pull(client, broker)
        assert offsets(first) == [0, 1]
        assert offsets(await pull(client, broker, wait="100ms")) == []
        waiting = asyncio.create_task(pull(client, broker, wait="30s"))
        await ack(client, broker, offset=0)
        assert offsets(await waiting) == [2]


async def connected(client, broker, name="worker"):
    return (await call(client, "GET", f"{broker.url}/v1/subscribers/{name}"))[1]["connected"]


async def test_a_pull_beside_a_live_stream_is_refused_unless_it_takes_over(broker):
    async with http() as client:
        await worker(client, broker)
        await publish(client, broker, 1)
        async with websockets.connect(f"{broker.ws}?subscriber=worker") as socket:
            await socket.recv()
            await refused(client, "POST", f"{broker.url}/v1/subscribers/worker/pull", 409, "stream-live", json={})
            assert offsets(await pull(client, broker, takeover=True)) == [0]
            with pytest.raises(websockets.ConnectionClosed) as closed:
                while True:
                    await socket.recv()
            assert closed.value.rcvd.code == 4509
        async with stream(client, broker, subscriber="worker", channels="job.*") as events:
            assert [event["offset"] for event in await events.events(1)] == [0]
            await refused(client, "POST", f"{broker.url}/v1/subscribers/worker/pull", 409, "stream-live", json={})


async def test_a_session_that_was_taken_over_is_refused(broker):
    async with http() as client:
        await worker(client, broker)
        await publish(client, broker, 1)
        older = (await pull(client, broker))["session"]
        newer = await pull(client, broker, takeover=True)
        assert newer["session"] != older and offsets(newer) == [0] and newer["events"][0]["attempt"] == 2
        url = f"{broker.url}/v1/subscribers/worker"
        await refused(client, "POST", f"{url}/pull", 409, "session-over", json={"session": older})
        await refused(client, "POST", f"{url}/ack", 409, "session-over", json={"session": older, "offset": 0})
        async with stream(client, broker, subscriber="worker", channels="job.*"):
            await refused(client, "POST", f"{url}/pull", 409, "session-over", json={"session": newer["session"]})


async def test_a_session_that_is_quiet_for_the_ack_timeout_ends_and_its_events_come_again(broker):
    async with http() as client:
        await worker(client, broker, ack_timeout="1s")
        await publish(client, broker, 1)
        pulled = await pull(client, broker)
        await eventually(lambda: gone(client, broker), what="the session ends")
        await refused(client, "POST", f"{broker.url}/v1/subscribers/worker/ack", 409, "session-over",
                      json={"session": pulled["session"], "offset": 0})
        assert offsets(await pull(client, broker)) == [0]


async def gone(client, broker):
    return not await connected(client, broker)


async def test_a_pull_that_waits_longer_than_the_ack_timeout_keeps_its_session(broker):
    async with http() as client:
        await worker(client, broker, ack_timeout="1s")
        first = await pull(client, broker, wait="3s")
        assert await connected(client, broker)
        assert (await pull(client, broker, session=first["session"]))["session"] == first["session"]


async def test_what_is_open_for_too_long_comes_again(broker):
    async with http() as client:
        await worker(client, broker, ack_timeout="1s")
        await publish(client, broker, 1)
        assert offsets(await pull(client, broker)) == [0]
        again = await pull(client, broker, wait="10s")
        assert offsets(again) == [0] and again["events"][0]["attempt"] == 2


async def test_an_ack_beyond_what_was_delivered_is_refused_and_one_below_the_cursor_changes_nothing(broker):
    async with http() as client:
        await worker(client, broker)
        await publish(client, broker, 1, 2)
        url = f"{broker.url}/v1/subscribers/worker/ack"
        await refused(client, "POST", url, 409, "ack-beyond-delivered", json={"offset": 0})
        await pull(client, broker, max=1)
        problem = await refused(client, "POST", url, 409, "ack-beyond-delivered", json={"offset": 1})
        assert problem["field"] == "offset"
        assert await ack(client, broker, offset=0) == (200, {"cursor": 1})
        assert await ack(client, broker, offset=0) == (200, {"cursor": 1})


async def test_an_acknowledged_pull_survives_a_kill(broker):
    async with http() as client:
        await worker(client, broker)
        await publish(client, broker, *range(3))
        await pull(client, broker)
        await ack(client, broker, offset=1)
    broker.kill()
    broker.start()
    async with http() as client:
        pulled = await pull(client, broker)
        assert (offsets(pulled), pulled["cursor"]) == ([2], 2)


async def test_bad_pulls_are_problems(broker):
    async with http() as client:
        await worker(client, broker)
        url = f"{broker.url}/v1/subscribers"
        await refused(client, "POST", f"{url}/nobody/pull", 404, "subscriber-not-found", json={})
        await refused(client, "POST", f"{url}/worker/pull", 400, "max-invalid", json={"max": 0})
        await refused(client, "POST", f"{url}/worker/pull", 400, "wait-invalid", json={"wait": "61s"})
        await refused(client, "POST", f"{url}/worker/pull", 400, "json-invalid", json={"some": 1})
        await refused(client, "POST", f"{url}/worker/ack", 400, "offset-invalid", json={})
        await refused(client, "POST", f"{url}/worker/ack", 400, "offset-invalid", json={"offset": 1, "offsets": [1]})
        await refused(client, "POST", f"{url}/worker/ack", 400, "offset-invalid", json={"offset": -1})
        answer = await call(client, "POST", f"{url}/worker/pull")
        assert answer[0] == 200, "every default holds without a body"


async def test_many_workers_that_take_over_from_each_other_lose_nothing(broker):
    async with http() as client:
        await worker(client, broker, window=10)
        await publish(client, broker, *range(100))
        done = set()
        turn = 0
        while len(done) < 100:
            pulled = await pull(client, broker, max=7, takeover=turn % 3 == 0)
            events = offsets(pulled)
            assert events == sorted(events)
            if events and turn % 4:
                await ack(client, broker, offsets=events, session=pulled["session"])
                done.update(events)
            turn += 1
        assert done == set(range(100))
