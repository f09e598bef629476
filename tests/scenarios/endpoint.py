"""An HTTP endpoint that connectors call, and what it got."""

import asyncio
import contextlib
import dataclasses
import json
import socket
import time

from aiohttp import web


@dataclasses.dataclass
class Request:
    """One request as it came."""

    offset: int
    attempt: int
    headers: dict
    body: bytes
    came: float
    method: str


class Endpoint:
    """Keeps what came; `answer` gives the status for an event, or a status and a text, or those and headers.

    A body that is no event as JSON is told by its offset alone.
    """

    def __init__(self, answer=lambda event: 200):
        self.answer = answer
        self.requests = []
        self.attempts = []
        self.accepted = []

    async def receive(self, request):
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        offset = int(headers["stentor-offset"])
        self.requests.append(Request(offset, int(headers["stentor-attempt"]), headers, body, time.monotonic(),
                                     request.method))
        try:
            event = json.loads(body)
        except ValueError:
            event = None
        if not isinstance(event, dict) or "offset" not in event:
            event = {"offset": offset}
        self.attempts.append(offset)
        answer = self.answer(event)
        if asyncio.iscoroutine(answer):
            answer = await answer
        status, *rest = answer if isinstance(answer, tuple) else (answer,)
        text, more = (*rest, *("", {})[len(rest):])
        if status == 200:
            self.accepted.append(offset)
        return web.Response(status=status, text=text, headers=more)


@contextlib.asynccontextmanager
async def endpoint(answer=lambda event: 200, tls=None):
    """Serves one on loopback; over TLS where a context is given."""
    made = Endpoint(answer)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    made.url = f"{'https' if tls else 'http'}://127.0.0.1:{listening.getsockname()[1]}/"
    runner = web.ServerRunner(web.Server(made.receive))
    await runner.setup()
    await web.SockSite(runner, listening, ssl_context=tls).start()
    try:
        yield made
    finally:
        await runner.cleanup()
