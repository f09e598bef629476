"""PROTOCOL.md section 5: close codes say whether to come back. Here the client is the project's own, `stentor subscribe`.

The server is none of the broker's: it closes with whatever it is told.
"""

import asyncio
import contextlib
import json

import pytest
from websockets.asyncio.server import serve

from harness import BINARY
from talking import SOON, SUBPROTOCOL

FOR_GOOD = [1002, 1003, 1007, 1009, 4500, 4501, 4503, 4509, 4999]
COME_BACK = [None, 1000, 1001, 1011, 1012, 1013, 3000, 4000, 4408, 4410, 4429, 4499]
SUBSCRIBED = {"op": "subscribed", "channels": ["a"], "cursor": 0, "end": 0}


class Server:
    """Says `subscribed` and closes with its code, or just breaks; remembers when whoever came came, and went."""

    def __init__(self, code):
        self.code = code
        self.came, self.gone = [], []
        self.back = asyncio.Event()

    async def answer(self, socket):
        self.came.append(asyncio.get_running_loop().time())
        if len(self.came) > 1:
            self.back.set()
        await socket.send(json.dumps(SUBSCRIBED))
        if self.code is None:
            socket.transport.abort()
        else:
            await socket.close(self.code)
        self.gone.append(asyncio.get_running_loop().time())


@contextlib.asynccontextmanager
async def subscribed(code):
    """A listener on a server that closes with this code."""
    server = Server(code)
    async with serve(server.answer, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL], close_timeout=2) as serving:
        port = serving.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            BINARY, "subscribe", "a", "--url", f"http://127.0.0.1:{port}", stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL)
        try:
            yield server, process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@pytest.mark.parametrize("code", FOR_GOOD)
async def test_a_client_does_not_come_back_on_a_code_that_says_so(code):
    async with subscribed(code) as (server, process):
        assert await asyncio.wait_for(process.wait(), SOON) != 0, "it says that it failed"
        assert len(server.came) == 1


async def test_on_every_other_code_and_on_none_it_comes_back_with_full_jitter_from_half_a_second_on():
    async def waited(code):
        async with subscribed(code) as (server, process):
            back, ended = asyncio.create_task(server.back.wait()), asyncio.create_task(process.wait())
            await asyncio.wait({back, ended}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            assert back.done() and not ended.done(), f"it does not come back on {code}"
            ended.cancel()
            return server.came[1] - server.gone[0]

    waits = await asyncio.gather(*(waited(code) for code in COME_BACK))
    # A little less, because the server notes that it closed a moment after the client has heard it.
    assert all(0.45 <= wait < 20 for wait in waits), waits
    assert max(waits) - min(waits) > 0.1, f"they come back together: {waits}"
