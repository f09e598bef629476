"""The fixtures that scenarios and contract tests share: brokers that end with their test."""

import os

import pytest

from harness import Broker

# Every broker fills two segments ahead of what it was told. At 80 MiB each time two thousand tests wrote 300 GB, and a
# machine with a small disk ran out of it. The sizes of a broker that was told nothing are met by the JavaScript
# scenarios, the demo and the loads (tests/soak).
os.environ.setdefault("STENTOR_SEGMENTS_EVENTS", "4MiB")
os.environ.setdefault("STENTOR_SEGMENTS_LEDGER", "1MiB")


@pytest.fixture
def broker(tmp_path):
    """A running broker on an empty data directory."""
    running = Broker(tmp_path / "data").start()
    yield running
    running.close()


@pytest.fixture
def brokers(tmp_path):
    """Makes brokers with settings of their own; all are ended with the test."""
    made = []

    def make(name="data", *arguments, **settings):
        made.append(Broker(tmp_path / name, *arguments, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()
