"""Pull: a listener that asks instead of staying connected, over kills, takeovers and bad requests. PROTOCOL.md section 4."""

import pytest

from harness import call, http, refused

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


async def test_what_was_published_before_a_pull_is_in_it(broker):
    async with http() as client:
        await worker(client, broker)
        assert (await pull(client, broker))["events"] == []
        for n in range(200):
            await publish(client, broker, n, channel="job.made" if n % 2 else "other.thing")
            assert offsets(await pull(client, broker)) == ([n] if n % 2 else [])
            if n % 2:
                await ack(client, broker, offset=n)


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
