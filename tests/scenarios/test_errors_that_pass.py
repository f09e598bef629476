"""A disk or a folder that refuses once, or refuses what is not needed: nothing is lost, and nobody is alarmed."""

from connecting import receipts
from faults import Fault
from harness import call, eventually, http


async def test_a_start_goes_well_where_the_folder_above_its_data_cannot_be_synced(brokers, tmp_path):
    # The story: as on a read-only system that `data` is mounted into. The broker did not start.
    broker = brokers().start()
    async with http() as session:
        await call(session, "POST", f"{broker.url}/v1/events/key.a", json=1, expect=201)
        broker.stop()
        fault = Fault(tmp_path / "trace", "fsync", "error=EROFS:when=1+", [broker.data.parent])
        broker.prefix = fault.prefix
        broker.start()
        assert fault.hits() > 0, "it was tried"
        _, event = await call(session, "GET", f"{broker.url}/v1/events/0", expect=200)
        assert event["data"] == 1
    broker.stop()


async def test_a_read_of_the_ledger_that_fails_once_is_made_again_and_receipts_are_there(brokers, tmp_path):
    # The story: it was told as damage, for a minute.
    broker = brokers().start()
    async with http() as session:
        worker = f"{broker.url}/v1/subscribers/worker"
        await call(session, "PUT", worker, json={"channels": ["**"], "from": "earliest"}, expect=201)
        fault = Fault(tmp_path / "trace", "pread64", "error=EIO:when=1", sorted((broker.data / "ledger").glob("*.seg")))
        fault.attach(broker.process.pid)
        await call(session, "POST", f"{broker.url}/v1/events/key.a", json=1, expect=201)
        await call(session, "POST", f"{worker}/pull", json={"max": 1}, expect=200)
        await call(session, "POST", f"{worker}/ack", json={"offset": 0}, expect=200)

        async def answered():
            status, answer = await call(session, "GET", f"{broker.url}/v1/receipts")
            # Not ready yet is an answer that says so; damage is none.
            assert status == 200 or (status == 503 and answer["type"].endswith("/view-not-ready")), answer
            return status == 200
        await eventually(answered, what="receipts are there")
        fault.detach()
        assert fault.hits() > 0, "it did fail"
        found = await receipts(session, broker, subscriber="worker")
        assert [(receipt["from"], receipt["outcome"]) for receipt in found] == [(0, "acked")], found
