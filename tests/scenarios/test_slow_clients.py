"""Clients that take their time before they have asked for anything are cut off (RELIABILITY.md, section 4, ingress).

Invariant 36. Deadlines: first byte within 5 s, headers within 10 s."""

import asyncio

import pytest

from slow_clients import KINDS, hold

# What a busy machine may be late by.
LATE = 10


async def cut_within(broker, name, deadline):
    held = await asyncio.gather(*(hold(broker.port, *KINDS[name], watched=deadline + LATE) for _ in range(10)))
    assert None not in held, f"{name}: {held.count(None)} of {len(held)} still hold their connection"


async def test_a_connection_that_says_nothing_is_cut_within_5_seconds(broker):
    await cut_within(broker, "silent", 5)


@pytest.mark.parametrize("name", ["slow headers", "headers that stop", "half an HTTP/2 preface"])
async def test_headers_that_do_not_end_are_cut_within_10_seconds(broker, name):
    await cut_within(broker, name, 10)
