"""One broker for a whole file of statements, and short words to ask it with.

Tests that share it keep to channels and names of their own: `word` is one that no other test has.
"""

import asyncio
import contextlib
import itertools
import json

import pytest
import pytest_asyncio
import yarl

from harness import Broker, call, eventually, http, refused
from listening import listening

JSON = {"content-type": "application/json"}
NDJSON = {"content-type": "application/x-ndjson"}
numbers = itertools.count(1)


class Ask:
    """Asks one broker. Paths are taken as they are, percent signs and all."""

    def __init__(self, session, broker):
        self.session, self.broker = session, broker

    def url(self, path):
        return yarl.URL(self.broker.url + path, encoded=True)

    async def __call__(self, method, path, expect=200, **arguments):
        """One request with that answer: its JSON."""
        return (await call(self.session, method, self.url(path), expect=expect, **arguments))[1]

    async def get(self, path, expect=200, **query):
        return await self("GET", path, expect, params=query)

    async def text(self, path, **query):
        async with self.session.get(self.url(path), params=query) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.text()

    async def post(self, path, body, expect=200):
        return await self("POST", path, expect, json=body)

    async def put(self, name, expect=201, kind="subscriber", **settings):
        return await self("PUT", f"/v1/{kind}s/{name}", expect, json=settings)

    async def refused(self, method, path, status, code, **arguments):
        """One request with that problem: the problem."""
        return await refused(self.session, method, self.url(path), status, code, **arguments)

    async def publish(self, channel, data=1, expect=201, **headers):
        """One event with a JSON payload; underscores in the names of headers are hyphens."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self("POST", f"/v1/events/{channel}", expect, headers={**JSON, **headers}, data=json.dumps(data))

    async def many(self, *events, expect=201):
        """A batch; what is no object is a channel."""
        events = [event if isinstance(event, dict) else {"channel": event, "data": n} for n, event in enumerate(events)]
        return await self.post("/v1/events", events, expect)

    async def event(self, offset):
        return await self.get(f"/v1/events/{offset}")

    async def end(self):
        return (await self.get("/health/ready"))["end"]

    async def found(self, **query):
        """The channels of a range, in order."""
        return [event["channel"] for event in (await self.get("/v1/events", **query))["events"]]

    async def subscriber(self, name):
        return await self.get(f"/v1/subscribers/{name}")

    async def pull(self, name, expect=200, **asked):
        return await self.post(f"/v1/subscribers/{name}/pull", asked, expect)

    async def pulled(self, name, **asked):
        """The offsets of a pull."""
        return [event["offset"] for event in (await self.pull(name, **asked))["events"]]

    async def ack(self, name, **said):
        return (await self.post(f"/v1/subscribers/{name}/ack", said))["cursor"]

    async def receipts(self, **query):
        return (await self.get("/v1/receipts", **query))["receipts"]

    def listening(self, **query):
        return listening(self.session, self.broker, **query)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The broker of this file."""
    running = Broker(tmp_path_factory.mktemp("shared") / "data").start()
    yield running
    running.close()


@contextlib.asynccontextmanager
async def asking(broker):
    async with http() as session:
        yield Ask(session, broker)


@pytest_asyncio.fixture
async def ask(shared):
    async with asking(shared) as ask:
        yield ask


@pytest.fixture
def word():
    return f"w{next(numbers)}"


# Each event is a segment of its own, and all but the newest go.
FORGETFUL = {"STENTOR_SEGMENTS_EVENTS": "4KiB", "STENTOR_RETENTION_MAX_BYTES": "1KiB"}
OLD = b'"' + b"x" * 3_000 + b'"'


async def wear(broker):
    async with asking(broker) as ask:
        for n in range(9):
            await ask.put(f"late-{n}", channels=["old"], ack_timeout="1h")
        for n in range(4):
            await ask("POST", "/v1/events/old", 201, data=OLD, headers={**JSON, "idempotency-key": f"old-{n}"})

        async def taken():
            return (await ask.get("/health/ready"))["start"] == 3
        await eventually(taken, what="retention has taken what is too much")


@pytest.fixture(scope="module")
def worn(tmp_path_factory):
    """A broker whose retention took 0, 1 and 2 of four events `old`; `late-0` to `late-8` were before them all."""
    running = Broker(tmp_path_factory.mktemp("worn") / "data", environment=FORGETFUL).start()
    asyncio.run(wear(running))
    yield running
    running.close()


@pytest_asyncio.fixture
async def old(worn):
    async with asking(worn) as ask:
        yield ask
