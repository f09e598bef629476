"""The fixtures that scenarios and contract tests share: brokers that end with their test."""

import pytest

from harness import Broker


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
