"""The command line, asked by the tests of the contract."""

import json

from harness import stentor
from terminal import Terminal


def ran(broker, *arguments, status=0, **options):
    """Runs a command against a broker, which must end with this status; gives the process."""
    done = stentor(*arguments, url=broker.url if broker else None, check=False, **options)
    assert done.returncode == status, f"{arguments}: {done.returncode} {done.stdout}{done.stderr}"
    return done


def printed(broker, *arguments, **options):
    """Runs a command; gives the objects that it printed."""
    return [json.loads(line) for line in ran(broker, *arguments, **options).stdout.splitlines()]


def published(broker, channel, *payloads):
    """Publishes one after another; gives the offsets."""
    return [printed(broker, "publish", channel, json.dumps(payload))[0]["offset"] for payload in payloads]


def on_a_terminal(broker, *arguments):
    """Runs a command on a terminal until it ends; gives the status and all that was shown."""
    terminal = Terminal(*arguments, url=broker.url)
    try:
        return terminal.ends(60), terminal.seen
    finally:
        terminal.close()
