"""`bench` puts a bounded load on a running broker and says what it measured (PROTOCOL.md section 11)."""

import json
import time

import pytest

from harness import stentor


def measured(broker, *arguments):
    done = stentor("bench", *arguments, url=broker.url)
    (line,) = done.stdout.splitlines()
    figures = json.loads(line)
    percentiles = [figures["latency_ms"][name] for name in ("p50", "p90", "p99", "p99_9", "max")]
    assert percentiles == sorted(percentiles) and percentiles[0] > 0, figures
    assert figures["events_per_second"] > 0 and figures["bytes_per_second"] > 0, figures
    return figures


def end(broker):
    return json.loads(stentor("status", url=broker.url).stdout)["end"]


def test_publish_is_bounded_by_a_count(broker):
    figures = measured(broker, "publish", "--count", 300, "--publishers", 8, "--size", 512)
    assert (figures["events"], end(broker)) == (300, 300)
    (event,) = [json.loads(line) for line in stentor("read", "--limit", 1, url=broker.url).stdout.splitlines()]
    assert len(json.dumps(event["data"], separators=(",", ":"))) == 512


def test_publish_is_bounded_by_time(broker):
    began = time.monotonic()
    figures = measured(broker, "publish", "--seconds", 1)
    assert figures["events"] == end(broker)
    assert 0.9 < figures["seconds"] < 5 and time.monotonic() - began < 20


def test_fanout_brings_every_event_to_every_listener(broker):
    figures = measured(broker, "fanout", "--listeners", 30, "--count", 50)
    assert (figures["published"], figures["events"]) == (50, 50 * 30)


def test_replay_reads_what_is_there(broker):
    measured(broker, "publish", "--count", 500, "--publishers", 8)
    figures = measured(broker, "replay", "--listeners", 3)
    assert figures["events"] == 1500
    stentor("publish", "other", "1", url=broker.url)
    assert measured(broker, "replay", "other")["events"] == 1


def test_connector_is_called_for_every_event_and_leaves_nothing_behind(broker):
    figures = measured(broker, "connector", "--count", 60, "--in-flight", 4)
    assert (figures["published"], figures["events"]) == (60, 60)
    assert stentor("connector", "ls", url=broker.url).stdout == ""


def test_a_table_is_for_people(broker):
    shown = stentor("bench", "publish", "--count", 20, "--output", "table", url=broker.url).stdout
    assert "p99.9" in shown and "events per second" in shown and "{" not in shown


@pytest.mark.parametrize("load", ["publish", "fanout", "replay", "connector"])
def test_a_broker_that_is_not_there_is_status_1(load):
    done = stentor("bench", load, "--count", 1, url="http://127.0.0.1:9", check=False)
    assert done.returncode == 1 and done.stdout == "" or json.loads(done.stdout)["events"] == 0, done
