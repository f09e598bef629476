"""The key that was activated: who listens has it, who comes later gets it, and who got it when is on record."""

import asyncio
import json
import os
import random
import shutil
import statistics
import time

import pytest

from harness import call, http, report, verify
from listening import listening

SEED = int(os.environ.get("STENTOR_SEED", random.SystemRandom().randrange(2**32)))

# 300 bytes of JSON, with spaces that a broker which parses and prints again would lose.
PAYLOAD = b'{"provider": "openai_primary", "note": "' + b"k" * 258 + b'"}'
assert len(PAYLOAD) == 300


async def publish(session, broker, channel, data=PAYLOAD):
    kind = {"content-type": "application/json"}
    return (await call(session, "POST", f"{broker.url}/v1/events/{channel}", data=data, headers=kind, expect=201))[1]


async def receipts(session, broker, offset):
    _, answer = await call(session, "GET", f"{broker.url}/v1/events/{offset}/receipts", expect=200)
    return sorted(answer["receipts"], key=lambda receipt: receipt["subscriber"])


def is_the_event(event, published):
    assert event["offset"] == published["offset"] == 0
    assert event["id"] == published["id"] and event["time"] == published["time"]
    assert event["channel"] == "key.activated"
    assert event["data"] == json.loads(PAYLOAD)


@pytest.mark.parametrize("end", ["stopped", "killed"])
async def test_everyone_who_asked_for_an_activated_key_has_it_and_the_receipts_name_them_for_good(broker, end):
    async with http() as session:
        url = broker.url
        await call(session, "PUT", f"{url}/v1/subscribers/worker", json={"channels": ["key.*"]}, expect=201)
        async with (
            listening(session, broker, channels="key.*", subscriber="browser") as browser,
            listening(session, broker, channels="key.*", subscriber="agent") as agent,
        ):
            published = await publish(session, broker, "key.activated")
            for listener in (browser, agent):
                is_the_event(await listener.event(), published)
            pending = await receipts(session, broker, 0)
            assert [(r["subscriber"], r["state"]) for r in pending] == [
                ("agent", "pending"), ("browser", "pending"), ("worker", "pending")]

            async with listening(session, broker, subscriber="worker") as worker:
                assert worker.subscribed["cursor"] == 0
                is_the_event(await worker.event(), published)
                for listener in (browser, agent, worker):
                    assert await listener.ack(0) == 1

        async with session.get(f"{url}/v1/events/0") as answer:
            assert PAYLOAD in await answer.read(), "the payload is not byte for byte what was published"
        before = await receipts(session, broker, 0)
        assert [(r["subscriber"], r["state"]) for r in before] == [
            ("agent", "acked"), ("browser", "acked"), ("worker", "acked")]
        assert all(r["time"] >= published["time"] and r["attempts"] == 1 for r in before)

        if end == "stopped":
            broker.stop()
            verify(broker.data)
            shutil.rmtree(broker.data / "views")
        else:
            broker.kill()
        broker.start()
        assert await receipts(session, broker, 0) == before
        for name in ("agent", "browser", "worker"):
            _, shown = await call(session, "GET", f"{url}/v1/subscribers/{name}", expect=200)
            assert (shown["cursor"], shown["lag"]) == (1, 0)
        async with listening(session, broker, subscriber="worker") as worker:
            assert (await worker.frame())["op"] == "caught_up", "what was acknowledged came again"
    broker.stop()
    verify(broker.data)


async def test_a_thousand_activated_keys_arrive_in_order_one_after_another(broker):
    count = 1_000
    latencies = []
    async with http() as session, listening(session, broker, channels="key.*", subscriber="browser") as browser:
        for expected in range(count):
            began = time.perf_counter()
            sent = asyncio.ensure_future(publish(session, broker, "key.activated"))
            event = await browser.event()
            latencies.append((time.perf_counter() - began) * 1000)
            assert (event["offset"], (await sent)["offset"]) == (expected, expected)
            if expected % 100 == 99:
                await browser.ack(expected, confirm=False)
    latencies.sort()
    report(f"POST to WebSocket frame, {count} one after another: median {statistics.median(latencies):.2f} ms, "
           f"p99 {latencies[count * 99 // 100]:.2f} ms, max {latencies[-1]:.2f} ms")


async def test_a_confirmed_ack_is_durable_when_it_is_confirmed(broker):
    """Also one that repeats an ack which is on its way to the disk at this moment."""
    dice = random.Random(SEED)
    report(f"seed {SEED}")
    async with http() as session, listening(session, broker, channels="key.*", subscriber="browser") as browser:
        for offset in range(150):
            await publish(session, broker, "key.activated")
            assert (await browser.event())["offset"] == offset
            await browser.ack(offset, confirm=False)
            # Not in place of a signal: the moment is what is tried out.
            await asyncio.sleep(dice.uniform(0, 0.12))
            assert await browser.ack(offset) == offset + 1, f"ack {offset} was confirmed before it was durable"


@pytest.mark.parametrize("window, later", [(256, 256), (2, 2), (8, 1)])
async def test_a_listener_that_asks_for_more_gets_what_matches_behind_its_cursor(broker, window, later):
    """New patterns hold from the cursor on, also between events that are open, and also with a smaller window."""
    async with http() as session:
        async with listening(session, broker, channels="key.activated", subscriber="browser", window=window) as browser:
            for channel in ("key.activated", "key.revoked", "key.activated"):
                await publish(session, broker, channel)
            assert [event["offset"] for event in await browser.events(2)] == [0, 2]
        settings = {"channels": ["key.*"], "window": later}
        await call(session, "PUT", f"{broker.url}/v1/subscribers/browser", json=settings, expect=200)
        async with listening(session, broker, subscriber="browser") as browser:
            assert browser.subscribed["cursor"] == 0
            for expected in range(3):
                assert (await browser.event(within=10))["offset"] == expected
                await browser.ack(expected)
        for offset, listeners in ((0, 1), (1, 1), (2, 1)):
            found = await receipts(session, broker, offset)
            assert [r["state"] for r in found] == ["acked"] * listeners, f"the receipts of event {offset}"


async def test_a_cursor_stays_where_it_is_when_the_patterns_change(broker):
    async with http() as session:
        browser = f"{broker.url}/v1/subscribers/browser"
        await call(session, "PUT", browser, json={"channels": ["key.activated"]}, expect=201)
        for _ in range(3):
            await publish(session, broker, "key.revoked")
        _, before = await call(session, "GET", browser, expect=200)
        assert (before["cursor"], before["lag"]) == (3, 0)
        _, after = await call(session, "PUT", browser, json={"channels": ["key.*"]}, expect=200)
        assert (after["cursor"], after["lag"]) == (3, 0), "a cursor fell without a seek"
