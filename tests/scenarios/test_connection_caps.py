"""There are so many connections at once, in all and from one address; whoever comes beyond is told so cheaply
(RELIABILITY.md section 4, ingress; docs/CONFIGURATION.md)."""

import asyncio
import contextlib
import json

import aiohttp
import pytest

from harness import eventually, http
from listening import listening


async def ask(broker, path="/health/live", source=None, **headers):
    """One request on a connection of its own; gives status, headers and body, or nothing where none came."""
    local = (source, 0) if source else None
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port, local_addr=local)
    lines = [f"GET {path} HTTP/1.1", "host: stentor", "connection: close",
             *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    try:
        async with asyncio.timeout(10):
            answer = await reader.read()
    except ConnectionError:
        answer = b""
    writer.close()
    if not answer:
        return None, {}, ""
    head, _, body = answer.decode().partition("\r\n\r\n")
    first, *rest = head.split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in rest), body


@contextlib.asynccontextmanager
async def held(broker, count, source="127.0.0.1"):
    """Connections that have been taken: each has asked and been answered, and stays open."""
    writers = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port, local_addr=(source, 0))
        writer.write(b"GET /health/live HTTP/1.1\r\nhost: stentor\r\n\r\n")
        assert b" 200 " in await reader.readline()
        writers.append(writer)
    yield writers
    for writer in writers:
        writer.close()


def is_refused(answer):
    status, headers, body = answer
    assert status == 503, answer
    problem = json.loads(body)
    assert headers["content-type"] == "application/problem+json" and int(headers["retry-after"]) >= 1
    assert (problem["type"], problem["status"]) == ("/problems/too-many-connections", 503)
    return problem


@pytest.fixture
def small(brokers):
    limits = {"STENTOR_LIMITS_MAX_CONNECTIONS": "8", "STENTOR_LIMITS_MAX_CONNECTIONS_PER_ADDRESS": "5"}
    return brokers(environment=limits).start()


async def test_an_address_has_so_many_connections_and_others_have_theirs(small):
    async with held(small, 5):
        assert "from this address" in is_refused(await ask(small))["detail"]
        status, _, _ = await ask(small, source="127.0.0.2")
        assert status == 200, "another address has places of its own"


async def test_all_together_have_so_many_and_a_place_that_is_left_is_free(small):
    async with held(small, 5) as ours, held(small, 3, source="127.0.0.2"):
        assert "from this address" not in is_refused(await ask(small, source="127.0.0.3"))["detail"]
        ours[0].close()

        async def answered():
            status, _, _ = await ask(small, source="127.0.0.3")
            return status == 200

        await eventually(answered, what="the place is free again")


async def test_a_websocket_keeps_its_place_after_the_upgrade(small):
    async with http() as session, contextlib.AsyncExitStack() as sockets:
        for _ in range(5):
            await sockets.enter_async_context(listening(session, small, channels="a"))
        is_refused(await ask(small))
        with pytest.raises(aiohttp.WSServerHandshakeError) as failed:
            await session.ws_connect(small.ws)
        assert failed.value.status == 503


async def test_an_event_source_is_told_to_come_back_because_a_503_would_end_it(small):
    async with held(small, 5):
        status, headers, body = await ask(small, "/v1/sse?channels=a", accept="text/event-stream")
        assert (status, headers["content-type"], body) == (200, "text/event-stream", "retry: 5000\n\n")
        status, _, _ = await ask(small, "/v1/sse", accept="text/event-stream", origin="https://app.example")
        assert status is None, "a page of another origin comes back after a connection that broke"


async def test_what_was_refused_is_counted(small):
    async with held(small, 5):
        is_refused(await ask(small))
        _, _, text = await ask(small, "/metrics", source="127.0.0.2")
    assert 'stentor_connections_refused_total{kind="address"} 1\n' in text
    assert 'stentor_connections_refused_total{kind="all"} 0\n' in text
    assert "stentor_connections 6\n" in text
