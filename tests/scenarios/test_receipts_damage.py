"""Receipts are read from the ledger: where that is damaged they say so, and nothing is made again for ever.

The story: the view was taken for the culprit, set aside and begun anew ten times a second, a copy of it each time, until
the disk was full.
"""

import shutil

import pytest

from harness import call, http, refused

pytestmark = pytest.mark.asyncio


async def test_a_damaged_ledger_is_named_and_the_view_is_not_made_again_and_again(brokers):
    broker = brokers(environment={"STENTOR_SEGMENTS_LEDGER": "4KiB"}).start()
    async with http() as session:
        name = f"{broker.url}/v1/subscribers/worker"
        await call(session, "PUT", name, json={"channels": ["**"], "from": "earliest"}, expect=201)
        events = [{"channel": "job.made", "data": n} for n in range(100)]
        await call(session, "POST", f"{broker.url}/v1/events", json=events, expect=201)
        await call(session, "POST", f"{name}/pull", json={"max": 100}, expect=200)
        for offset in range(100):
            await call(session, "POST", f"{name}/ack", json={"offset": offset}, expect=200)
        broker.stop()
        segments = sorted((broker.data / "ledger").glob("*.seg"))
        assert len(segments) > 2, "it rolled"
        rotten = bytearray(segments[1].read_bytes())
        rotten[len(rotten) // 2] ^= 1
        segments[1].write_bytes(rotten)
        shutil.rmtree(broker.data / "views" / "receipts")
        broker.start()
        for _ in range(3):
            problem = await refused(session, "GET", f"{broker.url}/v1/receipts", 500, "log-unreadable")
            assert "damaged" in problem["detail"], problem
        quarantine = broker.data / "quarantine"
        assert not quarantine.exists() or not list(quarantine.glob("views-*")), "the view was not to blame"
        # Everything else goes on.
        await call(session, "POST", f"{broker.url}/v1/events/job.made", json=1, expect=201)
        _, subscriber = await call(session, "GET", name, expect=200)
        assert subscriber["cursor"] == 100, subscriber
