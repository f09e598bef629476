"""An endpoint that says when to come back is not called before then, however it says it (RFC 9110, 10.2.3)."""

import email.utils
import time

import pytest
from aiohttp import web

from harness import call, eventually, http


async def endpoint(header):
    """Answers 503 with that header first, and 200 from then on; when it was called."""
    called = []

    async def answer(_request):
        called.append(time.time())
        return web.Response(status=200) if len(called) > 1 else web.Response(status=503, headers={"Retry-After": header()})

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/", called


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_it_is_not_called_before_the_time_it_gave(broker, form):
    due = int(time.time()) + 4

    def header():
        # A date has whole seconds.
        return email.utils.formatdate(due, usegmt=True) if form == "date" else str(due - int(time.time()))

    runner, url, called = await endpoint(header)
    try:
        async with http() as session:
            settings = {"url": url, "channels": ["key.*"], "retry": {"initial": "100ms", "max": "100ms"}}
            await call(session, "PUT", f"{broker.url}/v1/connectors/ems", json=settings, expect=201)
            await call(session, "POST", f"{broker.url}/v1/events/key.a", json=1, expect=201)
        await eventually(lambda: len(called) >= 2, what="it is called again")
        assert called[1] >= due - 1, f"{due - called[1]:.1f} s too early"
        assert called[1] - called[0] > 1, "its own backoff would have been 100 ms"
    finally:
        await runner.cleanup()
