"""A WebSocket client that says and hears frames, and what a broker is asked beside it over HTTP."""

import asyncio
import collections
import contextlib
import json
import re
import urllib.parse

import pytest
import websockets
from websockets.asyncio.client import connect

from harness import call, http

SUBPROTOCOL = "stentor.v1.json"
# Longer than any answer takes, shorter than anybody's patience.
SOON = 10
# How long a connection is watched that must stay silent.
QUIET = 0.4


class Client:
    """One WebSocket: frames out, frames in, and how it was closed."""

    def __init__(self, socket):
        self.socket = socket
        # Frames that came before the answer that was waited for, in their order.
        self.earlier = collections.deque()

    async def say(self, op, **members):
        await self.socket.send(json.dumps({"op": op, **members}))

    async def text(self, within=SOON):
        if self.earlier:
            return self.earlier.popleft()
        return await asyncio.wait_for(self.socket.recv(), within)

    async def frame(self, within=SOON):
        return json.loads(await self.text(within))

    async def expect(self, op, within=SOON):
        frame = await self.frame(within)
        assert frame["op"] == op, f"{op} was due, and this came: {frame}"
        return frame

    async def events(self, count, within=SOON):
        """The next so many frames, all of them events: their offsets."""
        return [(await self.expect("event", within))["offset"] for _ in range(count)]

    async def silent(self, within=QUIET):
        """Nothing comes for a while."""
        with pytest.raises(asyncio.TimeoutError):
            frame = await self.text(within)
            raise AssertionError(f"nothing was due, and this came: {frame}")

    async def refused(self, code=None):
        """An error frame comes, complete, and the connection goes on."""
        frame = await self.expect("error")
        assert frame["code"] and frame["detail"], frame
        if code:
            assert frame["code"] == code, frame
        await self.alive()
        return frame

    async def alive(self):
        await self.say("ping")
        assert await self.frame() == {"op": "pong"}

    async def acked(self, **what):
        """Acknowledges and waits until that is durable: the cursor. Deliveries before the answer are kept."""
        before = list(self.earlier)
        self.earlier.clear()
        await self.say("ack", confirm=True, **what)
        for _ in range(10_000):
            text = await self.text()
            frame = json.loads(text)
            if frame["op"] == "acked":
                break
            assert frame["op"] in ("event", "events", "caught_up"), f"acked was due, and this came: {frame}"
            before.append(text)
        assert set(frame) == {"op", "cursor"}, frame
        self.earlier.extend(before)
        return frame["cursor"]

    async def closed(self, within=SOON):
        """The code it is closed with; frames before it are let go."""
        async def drain():
            with contextlib.suppress(websockets.ConnectionClosed):
                for _ in range(100_000):
                    await self.socket.recv()
            return self.socket.close_code
        return await asyncio.wait_for(drain(), within)


def stands_in(word, text):
    """Whether a word stands in a text as a word."""
    return re.search(rf"(?<![0-9A-Za-z_]){re.escape(word)}(?![0-9A-Za-z_])", text)


def address(broker, **query):
    return broker.ws + ("?" + urllib.parse.urlencode(query, doseq=True) if query else "")


@contextlib.asynccontextmanager
async def listen(broker, subprotocols=(SUBPROTOCOL,), **query):
    """A connection; `query` starts delivery at once."""
    opening = connect(address(broker, **query), subprotocols=list(subprotocols) or None, ping_interval=None,
                      max_size=None, compression=None, close_timeout=2)
    async with opening as socket:
        yield Client(socket)


async def start(client, count):
    """Everything up to the live end: `subscribed`, so many events, `caught_up`."""
    await client.expect("subscribed")
    offsets = await client.events(count)
    await client.expect("caught_up")
    return offsets


async def publish(broker, count, channel="key.activated", first=0):
    """So many events, acknowledged by the broker; their data is a running number."""
    async with http() as session:
        lines = "".join(json.dumps({"channel": channel, "data": first + n}) + "\n" for n in range(count))
        _, answer = await call(session, "POST", broker.url + "/v1/events", data=lines.encode(), expect=201,
                               headers={"content-type": "application/x-ndjson"})
        return answer["first_offset"]


async def subscriber(broker, name):
    async with http() as session:
        _, shown = await call(session, "GET", f"{broker.url}/v1/subscribers/{name}", expect=200)
        return shown


async def make(broker, name, **settings):
    async with http() as session:
        return await call(session, "PUT", f"{broker.url}/v1/subscribers/{name}", json=settings)


async def post(broker, path, body):
    async with http() as session:
        return await call(session, "POST", broker.url + path, json=body)


async def end_of(broker):
    async with http() as session:
        _, ready = await call(session, "GET", broker.url + "/health/ready", expect=200)
        return ready["end"]
