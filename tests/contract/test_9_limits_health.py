"""PROTOCOL.md section 9: when the broker cannot, what it says of itself, and what it keeps."""

import asyncio
import json
import signal
import socket

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from faults import Fault
from harness import call, eventually, refused, stentor
from under_way import UnderWay

FIRST_SEGMENT = "00000000000000000000.seg"
SMALL = {"STENTOR_SEGMENTS_EVENTS": "4KiB"}


# 503


async def test_503_while_starting(brokers, session, tmp_path):
    broker = brokers().start()
    broker.stop()
    # It reads what it kept, and that takes two seconds.
    segment = broker.data / "ledger" / FIRST_SEGMENT
    broker.prefix = Fault(tmp_path / "trace", "pread64", "delay_enter=2000000:when=1", [segment]).prefix
    starting = asyncio.ensure_future(asyncio.to_thread(broker.start))
    statuses = set()
    while not starting.done():
        try:
            async with session.get(f"http://127.0.0.1:{broker.port}/health/ready", timeout=aiohttp.ClientTimeout(0.5)) as answer:
                statuses.add(answer.status)
                assert answer.status == 200 or int(answer.headers["retry-after"]) >= 1
        except (aiohttp.ClientError, TimeoutError) as error:
            statuses.add(type(error).__name__)
        await asyncio.sleep(0.05)
    await starting
    assert 503 in statuses, statuses


async def test_503_while_draining_and_retry_after_says_when(broker):
    health = await UnderWay(broker, "GET", "/health/ready").begin()
    # Connections are taken in their order: with this one answered, the one before it is the broker's.
    assert (await (await UnderWay(broker, "GET", "/health/live").begin()).finish())[0] == 200
    broker.process.send_signal(signal.SIGTERM)

    def deaf():
        try:
            socket.create_connection(("127.0.0.1", broker.port), timeout=1).close()
        except OSError:
            return True
        return False
    await eventually(deaf, what="it drains")
    status, problem = await health.finish()
    assert (status, problem["type"], problem["detail"]) == (503, "/problems/not-ready", "draining")
    assert int(health.headers["retry-after"]) >= 1
    assert await asyncio.to_thread(broker.process.wait, 30) == 0


@pytest.fixture
def poisoned(brokers, tmp_path):
    """A broker whose second publish meets an error of the disk."""
    broker = brokers()
    broker.prefix = Fault(tmp_path / "trace", "fdatasync", "error=EIO:when=2", [broker.data / "events" / FIRST_SEGMENT]).prefix
    return broker.start()


async def test_503_after_a_disk_error_the_publishs_outcome_is_unknown_and_retry_after_says_when(poisoned, session):
    path = f"{poisoned.url}/v1/events/a"
    await call(session, "POST", path, json=1, expect=201)
    for n in (2, 3):
        await refused(session, "POST", path, 503, "outcome-unknown", json=n)


async def test_read_only_after_a_disk_error_it_is_not_ready_and_reads_go_on(poisoned, session):
    path = f"{poisoned.url}/v1/events"
    await call(session, "POST", f"{path}/a", json=1, expect=201)
    await refused(session, "POST", f"{path}/a", 503, "outcome-unknown", json=2)
    await refused(session, "GET", f"{poisoned.url}/health/ready", 503, "not-ready")
    await call(session, "GET", f"{poisoned.url}/health/live", expect=200)
    _, page = await call(session, "GET", path, expect=200)
    assert [event["data"] for event in page["events"]] == [1]


# 507


@pytest.fixture
def full(brokers):
    """A broker that is to leave more of the disk free than there is."""
    broker = brokers().start()
    stentor("publish", "a", "1", url=broker.url)
    broker.stop()
    broker.environment["STENTOR_DISK_RESERVE"] = "1000000GiB"
    return broker.start()


@pytest.mark.parametrize("batch", [False, True], ids=["one", "many"])
async def test_507_the_disk_is_full_and_nothing_was_written(full, session, batch):
    path, body = ("", [{"channel": "a", "data": 2}]) if batch else ("/a", 2)
    await refused(session, "POST", f"{full.url}/v1/events{path}", 507, "disk-full", json=body)
    _, page = await call(session, "GET", f"{full.url}/v1/events", expect=200)
    assert ([event["data"] for event in page["events"]], page["end"]) == ([1], 1)


async def test_507_reads_go_on(full, session):
    await refused(session, "POST", f"{full.url}/v1/events/a", 507, "disk-full", json=2)
    await call(session, "GET", f"{full.url}/v1/events/0", expect=200)
    await call(session, "PUT", f"{full.url}/v1/subscribers/ui", json={"channels": ["a"], "from": 0}, expect=201)
    _, pulled = await call(session, "POST", f"{full.url}/v1/subscribers/ui/pull", json={}, expect=200)
    assert [event["data"] for event in pulled["events"]] == [1]


# Health


async def test_health_live_is_200_while_it_runs(shared, session):
    _, answer = await call(session, "GET", f"{shared.url}/health/live", expect=200)
    assert answer["status"] == "live"


async def test_health_ready_is_200_when_publishes_and_acks_are_taken(shared, session):
    _, answer = await call(session, "GET", f"{shared.url}/health/ready", expect=200)
    assert answer["status"] == "ready"


async def metrics(session, broker):
    async with session.get(f"{broker.url}/metrics") as answer:
        assert answer.status == 200
        return answer.headers["content-type"], await answer.text()


async def test_metrics_are_openmetrics(shared, session):
    kind, text = await metrics(session, shared)
    assert kind.startswith("application/openmetrics-text; version=1.0.0") and text.endswith("# EOF\n")
    assert all(family.name.startswith("stentor_") for family in text_string_to_metric_families(text))


async def test_stentor_events_published_total_counts_what_was_published(broker, session):
    for n in range(3):
        await call(session, "POST", f"{broker.url}/v1/events/a", json=n, expect=201)
    _, text = await metrics(session, broker)
    assert "\nstentor_events_published_total 3\n" in text


async def test_openapi_json_is_openapi_3_1_and_has_every_path(shared, session):
    _, page = await call(session, "GET", f"{shared.url}/openapi.json", expect=200)
    assert page["openapi"].startswith("3.1.")
    connector = [f"/v1/connectors/{{name}}/{verb}" for verb in
                 ("pause", "resume", "seek", "test", "rotate-secret", "attempts", "replay")]
    subscriber = [f"/v1/subscribers/{{name}}/{verb}" for verb in ("seek", "wait", "pull", "ack")]
    due = {"/v1/events", "/v1/events/{ref}", "/v1/events/{ref}/receipts", "/v1/export", "/v1/channels", "/v1/subscribers",
           "/v1/subscribers/{name}", *subscriber, "/v1/preview", "/v1/ws", "/v1/sse", "/v1/connectors", "/v1/connectors/{name}",
           *connector, "/v1/dead-letters", "/v1/dead-letters/retry", "/v1/receipts", "/health/live", "/health/ready", "/metrics"}
    assert due <= set(page["paths"])


# What is kept


def test_by_default_everything_is_kept_for_ever():
    rows = [json.loads(line) for line in stentor("config", "show").stdout.splitlines()]
    values = {row["key"]: row["value"] for row in rows if row["key"].startswith("retention.")}
    assert values["retention.max_age"] is None and values["retention.max_bytes"] is None


async def filled(session, broker):
    """Twenty events over several segments."""
    for n in range(20):
        await call(session, "POST", f"{broker.url}/v1/events/a", json={"n": n, "pad": "x" * 600}, expect=201)


async def gone(session, broker):
    return (await call(session, "GET", f"{broker.url}/v1/events/0"))[0] == 410


@pytest.mark.parametrize("setting", [{"STENTOR_RETENTION_MAX_AGE": "1s"}, {"STENTOR_RETENTION_MAX_BYTES": "8KiB"}],
                         ids=["max_age", "max_bytes"])
async def test_retention_removes_the_oldest_and_410_says_so(brokers, session, setting):
    broker = brokers(environment={**SMALL, **setting}).start()
    await filled(session, broker)
    await eventually(lambda: gone(session, broker), what="the oldest event is gone")
    await refused(session, "GET", f"{broker.url}/v1/events/0", 410, "event-gone")
    await call(session, "GET", f"{broker.url}/v1/events/19", expect=200)


async def test_max_bytes_of_the_newest_stay(brokers, session):
    broker = brokers(environment={**SMALL, "STENTOR_RETENTION_MAX_BYTES": "8KiB"}).start()
    await filled(session, broker)
    await eventually(lambda: gone(session, broker), what="the oldest event is gone")

    async def kept():
        _, page = await call(session, "GET", f"{broker.url}/v1/events?from=0", expect=200)
        return 5 <= len(page["events"]) <= 12 and page
    page = await eventually(kept, what="about 8 KiB are left")
    assert page["events"][-1]["offset"] == 19
