"""Every statement of the contract may ask for a broker of its own."""
import pytest

from fixtures import broker, brokers  # noqa: F401
from harness import call, eventually, http


@pytest.fixture
async def worn(brokers):
    """A broker whose retention took the offsets 0 to 3 of 8, and a subscriber `late` who had acknowledged none."""
    settings = {"STENTOR_SEGMENTS_EVENTS": "4KiB", "STENTOR_RETENTION_MAX_BYTES": "4KiB"}
    broker = brokers("worn", environment=settings).start()
    async with http() as session:
        made = {"channels": ["old.*"], "from": "earliest"}
        await call(session, "PUT", f"{broker.url}/v1/subscribers/late", json=made, expect=201)
        for n in range(8):
            await call(session, "POST", f"{broker.url}/v1/events/old.x", json={"n": n, "pad": "x" * 600}, expect=201)

        async def gone():
            _, page = await call(session, "GET", f"{broker.url}/v1/events?from=0", expect=200)
            return page.get("gap")
        assert await eventually(gone, what="the oldest segment is gone") == {"from": 0, "to": 4}
    return broker
import itertools

import pytest
import pytest_asyncio

from fixtures import broker, brokers
from harness import Broker, call, http

_words = itertools.count(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One broker for all tests of a file that leave it as it was but for names of their own."""
    running = Broker(tmp_path_factory.mktemp("shared") / "data").start()
    yield running
    running.close()


@pytest_asyncio.fixture
async def session():
    async with http() as session:
        yield session


@pytest.fixture
def word():
    """A word of the test's own, for the names and channels that it uses."""
    return f"t{next(_words)}"


@pytest_asyncio.fixture
async def own(shared, session, word):
    """Such a word; the connector of that name is removed behind the test."""
    yield word
    await call(session, "DELETE", f"{shared.url}/v1/connectors/{word}")
