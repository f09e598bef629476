"""What statements of the contract are tried on: a broker of their own, one of the whole file, one that forgets."""

import pytest
import pytest_asyncio

from asking import ask, old, shared, word, worn  # noqa: F401
from fixtures import broker, brokers  # noqa: F401
from harness import call, eventually, http


@pytest_asyncio.fixture
async def session():
    async with http() as session:
        yield session


@pytest_asyncio.fixture
async def own(shared, session, word):  # noqa: F811
    """A word of the test's own; the connector of that name is removed behind the test."""
    yield word
    await call(session, "DELETE", f"{shared.url}/v1/connectors/{word}")


@pytest.fixture
async def halved(brokers):  # noqa: F811
    """A broker whose retention took the offsets 0 to 3 of 8, and a subscriber `late` who had acknowledged none."""
    settings = {"STENTOR_SEGMENTS_EVENTS": "4KiB", "STENTOR_RETENTION_MAX_BYTES": "4KiB"}
    broker = brokers("halved", environment=settings).start()
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
