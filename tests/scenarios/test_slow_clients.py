"""Clients that take their time before they have asked for anything are cut off (RELIABILITY.md, section 4, ingress).

Invariant 36. Deadlines: first byte within 5 s, headers within 10 s, a body at 16 KB/s from its tenth second on."""

import asyncio
import json

import pytest

from harness import call, http
from slow_clients import KINDS, hold

# What a busy machine may be late by; less than lies between one deadline and the next.
LATE = 4


async def cut_within(broker, name, deadline):
    held = await asyncio.gather(*(hold(broker.port, *KINDS[name], watched=deadline + LATE) for _ in range(10)))
    assert None not in held, f"{name}: {held.count(None)} of {len(held)} still hold their connection"


async def test_a_connection_that_says_nothing_is_cut_within_5_seconds(broker):
    await cut_within(broker, "silent", 5)


@pytest.mark.parametrize("name", ["slow headers", "headers that stop", "half an HTTP/2 preface"])
async def test_headers_that_do_not_end_are_cut_within_10_seconds(broker, name):
    await cut_within(broker, name, 10)


@pytest.mark.parametrize("name", ["slow body", "body that stops", "slow chunks"])
async def test_a_body_that_comes_too_slowly_is_refused_within_10_seconds_and_cut(broker, name):
    await cut_within(broker, name, 10)
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    at_once, slowly = KINDS[name]
    writer.write(at_once + slowly[:100])
    async with asyncio.timeout(10 + LATE):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 408 ") and json.loads(body)["type"].endswith("body-too-slow"), head + body


async def test_fast_clients_publish_while_slow_ones_hold_their_connections(broker):
    slow = [asyncio.create_task(hold(broker.port, *KINDS[name], watched=9)) for name in KINDS for _ in range(10)]
    async with http() as session:
        for n in range(100):
            status, _ = await call(session, "POST", f"{broker.url}/v1/events/fast", json=n)
            assert status == 201
    assert not all(task.done() for task in slow), "they are still there"
    await asyncio.gather(*slow)
