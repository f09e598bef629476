"""An HTTP endpoint that connectors call, and what it got."""

import contextlib
import json
import socket

from aiohttp import web


class Endpoint:
    """Keeps what came; `answer` gives the status for an event."""

    def __init__(self, answer=lambda event: 200):
        self.answer = answer
        self.attempts = []
        self.accepted = []

    async def receive(self, request):
        event = json.loads(await request.read())
        self.attempts.append(event["offset"])
        status = self.answer(event)
        if status == 200:
            self.accepted.append(event["offset"])
        return web.Response(status=status)


@contextlib.asynccontextmanager
async def endpoint(answer=lambda event: 200):
    """Serves one on loopback."""
    made = Endpoint(answer)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    made.url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    runner = web.ServerRunner(web.Server(made.receive))
    await runner.setup()
    await web.SockSite(runner, listening).start()
    try:
        yield made
    finally:
        await runner.cleanup()
