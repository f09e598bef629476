#!/usr/bin/env python3
"""Crowds against the release binary, and what they cost: one JSON line for each part.

    tests/soak/load.py [--clients 10000] [--only idle,idle-listening,stalled,returning,poison,slow,restart] [--under DIR]

`--under /dev/shm` leaves the disk out of it: on a disk p99 is how long its slowest sync in a hundred takes.

Figures depend on the machine: they are printed, and nothing is asserted but that everybody gets everything.
"""

import argparse
import asyncio
import json
import pathlib
import resource
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "scenarios"))

import crowds  # noqa: E402
import restarts  # noqa: E402
import slow_clients  # noqa: E402
from harness import Broker, http  # noqa: E402

PARTS = {"idle": crowds.idle, "idle-listening": crowds.idle_listening, "stalled": crowds.stalled,
         "returning": crowds.returning, "poison": crowds.poison, "slow": slow_clients.slow, "restart": restarts.restart}
TIME_LIMIT = 300


async def measure(name, clients, under):
    """Runs a part on a broker of its own."""
    with tempfile.TemporaryDirectory(prefix="stentor-load-", dir=under) as folder:
        broker = Broker(pathlib.Path(folder) / "data").start()
        try:
            async with asyncio.timeout(TIME_LIMIT), http() as session:
                return await PARTS[name](session, broker, clients)
        finally:
            broker.close()


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clients", type=int, default=10_000)
    options.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    options.add_argument("--under", help="the folder that the broker's data is put into, in place of the system's own")
    given = options.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for name in given.only.split(","):
        figures = asyncio.run(measure(name, given.clients, given.under))
        print(json.dumps({"part": name, "clients": given.clients, **figures}), flush=True)


if __name__ == "__main__":
    main()
