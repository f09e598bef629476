"""What is counted: OpenMetrics that another parser accepts, bounded in labels, and true (PROTOCOL.md section 9)."""

import asyncio

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from endpoint import endpoint
from harness import call, eventually, http
from listening import listening


async def scraped(session, broker):
    """Every sample, by name and labels, and the families with their types."""
    async with session.get(f"{broker.url}/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        text = await answer.text()
    assert text.endswith("# EOF\n")
    families = list(text_string_to_metric_families(text))
    samples = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
               for family in families for sample in family.samples}
    return families, lambda name, **labels: samples.get((f"stentor_{name}", tuple(sorted(labels.items()))))


async def test_the_text_is_openmetrics_with_base_units_and_a_word_for_each_family(broker):
    async with http() as session:
        families, _ = await scraped(session, broker)
    assert len(families) > 30
    for family in families:
        assert family.name.startswith("stentor_") and family.documentation, family
        assert not any(unit in family.name for unit in ("_ms", "_millis", "_micros", "_kb", "_mib")), family.name
        if family.type == "histogram":
            assert family.name.endswith("_seconds"), family.name


async def test_what_has_not_happened_yet_is_zero_and_not_absent(broker):
    async with http() as session:
        _, value = await scraped(session, broker)
    for name, labels in [("deliveries_total", {"kind": "websocket"}), ("acks_total", {"kind": "connector"}),
                         ("connector_attempts_total", {"kind": "failed"}), ("publish_refused_total", {"kind": "conflict"}),
                         ("connections_refused_total", {"kind": "all"}), ("gaps_total", {}), ("dead_letters_total", {}),
                         ("connectors", {"kind": "failing"}), ("log_poisoned", {"kind": "ledger"})]:
        assert value(name, **labels) == 0, name


async def test_it_counts_what_happens(broker):
    async with http() as session:
        url = broker.url
        async with listening(session, broker, channels="a", subscriber="w", window="1") as listener:
            for n in range(3):
                await call(session, "POST", f"{url}/v1/events/a", json={"n": n}, headers={"idempotency-key": f"{n}"},
                           expect=201)
            await call(session, "POST", f"{url}/v1/events/a", json={"n": 0}, headers={"idempotency-key": "0"}, expect=200)
            await call(session, "POST", f"{url}/v1/events/a", json={"n": 9}, headers={"idempotency-key": "0"}, expect=409)
            await listener.ack((await listener.event())["offset"])
            await listener.event()
            _, value = await scraped(session, broker)
            assert value("events_published_total") == 3 and value("log_end_offset") == 3
            assert value("published_payload_bytes_total") == 3 * len('{"n": 0}')
            assert value("publish_duplicates_total") == 1 and value("publish_refused_total", kind="conflict") == 1
            assert value("deliveries_total", kind="websocket") == 2 and value("acks_total", kind="websocket") == 1
            assert value("open_events") == 1 and value("sessions", kind="websocket") == 1
            assert value("subscribers_live", kind="websocket") == 1 and value("subscribers", kind="subscriber") == 1
            assert value("subscriber_lag", subscriber="w") == 2
            assert value("commit_seconds_count", kind="events") >= value("sync_seconds_count", kind="events") >= 1
            assert value("commit_seconds_sum", kind="events") >= value("sync_seconds_sum", kind="events") > 0
            assert value("commit_seconds_count", kind="ledger") >= 1 and value("ledger_end_offset") >= 2
            assert value("log_bytes", kind="events") > 100 and value("disk_free_bytes") > 1 << 20
            assert value("read_only") == 0 and value("connections") >= 2
        _, value = await scraped(session, broker)
        assert value("subscribers_live", kind="websocket") == 0 and value("subscriber_lag", subscriber="w") == 2


async def test_it_counts_what_a_connector_does(broker):
    statuses = iter([500])
    async with http() as session, endpoint(lambda event: next(statuses, 200)) as hook:
        settings = {"url": hook.url, "channels": ["a"], "retry": {"initial": "10ms", "max": "20ms"}}
        await call(session, "PUT", f"{broker.url}/v1/connectors/c", json=settings, expect=201)
        await call(session, "POST", f"{broker.url}/v1/events/a", json=1, expect=201)

        async def delivered():
            _, value = await scraped(session, broker)
            return value if value("connector_attempts_total", kind="delivered") == 1 else None

        value = await eventually(delivered)
        assert value("connector_attempts_total", kind="failed") == 1 and value("connector_attempt_seconds_count") == 2
        assert value("deliveries_total", kind="connector") == 2 and value("redeliveries_total", kind="connector") == 1
        assert value("connectors", kind="active") == 1 and value("subscribers", kind="connector") == 1


async def test_ten_times_as_many_subscribers_are_no_more_series(broker):
    async with http() as session:
        await call(session, "POST", f"{broker.url}/v1/events/a", json=1, expect=201)

        async def put(n, start):
            await call(session, "PUT", f"{broker.url}/v1/subscribers/s{n:04}", json={"channels": ["a"], "from": start},
                       expect=201)

        for first in range(0, 1000, 100):
            await asyncio.gather(*(put(n, "latest") for n in range(first, first + 100)))
        await put(5000, "earliest")
        families, value = await scraped(session, broker)
        (lag,) = [family for family in families if family.name == "stentor_subscriber_lag"]
        assert len(lag.samples) == 100, "a cap on label values"
        assert value("subscriber_lag", subscriber="s5000") == 1, "who is furthest behind is among them"
        assert value("subscriber_lag_not_shown") == 901 and value("subscribers", kind="subscriber") == 1001
        assert sum(len(family.samples) for family in families) < 500


async def test_many_who_look_at_once_all_see_the_whole(broker):
    async with http() as session:
        for n in range(30):
            await call(session, "PUT", f"{broker.url}/v1/subscribers/s{n}", json={"channels": ["a"]}, expect=201)
        looks = await asyncio.gather(*(scraped(session, broker) for _ in range(20)))
        for families, _ in looks:
            (lag,) = [family for family in families if family.name == "stentor_subscriber_lag"]
            assert len(lag.samples) == 30

