"""No connector calls the broker that it belongs to: an event would publish itself for ever (RELIABILITY.md, 3: Egress).

Names lead elsewhere from one day to the next, and ports are picked at a start: so it is held at each request.
"""

import asyncio

import pytest

from harness import call, eventually, http

pytestmark = pytest.mark.asyncio


async def test_no_spelling_of_the_brokers_own_address_is_called(broker):
    hosts = ("127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433", "127.1")
    async with http() as session:
        for n, host in enumerate(hosts):
            settings = {"url": f"http://{host}:{broker.port}/v1/events/loop", "channels": ["loop"],
                        "retry": {"initial": "1h", "max": "1h"}}
            status, body = await call(session, "PUT", f"{broker.url}/v1/connectors/c{n}", json=settings)
            # What may not be reached at all is refused at once.
            assert status == 201 or (status == 400 and host == "0.0.0.0"), body
        await call(session, "POST", f"{broker.url}/v1/events/loop", json=1, expect=201)

        async def tried(n):
            status, listed = await call(session, "GET", f"{broker.url}/v1/connectors/c{n}/attempts")
            return listed["attempts"] if status == 200 else [{"error": "leads to this broker"}]

        for n in range(len(hosts)):
            attempts = await eventually(lambda n=n: tried(n))
            assert "leads to this broker" in attempts[0]["error"], (hosts[n], attempts)
        _, events = await call(session, "GET", f"{broker.url}/v1/events?from=0", expect=200)
        assert events["end"] == 1, "it published nothing to itself"


async def test_another_port_of_the_same_machine_is_called(broker):
    called = asyncio.Event()

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        called.set()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with http() as session, server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await call(session, "PUT", f"{broker.url}/v1/connectors/ems", json={"url": url, "channels": ["loop"]}, expect=201)
        await call(session, "POST", f"{broker.url}/v1/events/loop", json=1, expect=201)
        await asyncio.wait_for(called.wait(), 30)
