"""The view of receipts is a fold of the ledger: whatever happens to its folder, the answers are the ledger's.

RELIABILITY.md section 2, invariant 25. `tests/every_bit_of_a_view.rs` goes through every bit of a view; here it is the
broker's own, between two of its lives, with bits turned, files cut, taken away and filled with zeros.
"""

import os
import pathlib
import random
import shutil

from connecting import receipts
from harness import call, http

SEED = int(os.environ.get("STENTOR_SEED", random.SystemRandom().getrandbits(32)))
TIMES = 24


def harm(view, draw):
    """One drawn harm to one drawn file; what it was."""
    files = sorted(path for path in view.rglob("*") if path.is_file() and path.stat().st_size > 0)
    path = draw.choice(files)
    raw = bytearray(path.read_bytes())
    at = draw.randrange(len(raw))
    kind = draw.choice(["bit", "bit", "cut", "zeros", "gone"])
    match kind:
        case "bit":
            raw[at] ^= 1 << draw.randrange(8)
        case "cut":
            del raw[at:]
        case "zeros":
            raw[at:at + 512] = bytes(len(raw[at:at + 512]))
    if kind == "gone":
        path.unlink()
    else:
        path.write_bytes(raw)
    return f"{kind} in {path.relative_to(view)} at {at}"


async def everything(session, broker):
    """All receipts, page by page, and how each event's subscribers stand."""
    found, after = [], {}
    while after is not None:
        query = {"limit": 500, **after}
        _, page = await call(session, "GET", f"{broker.url}/v1/receipts", params=query, expect=200)
        found += page["receipts"]
        after = {"after": page["next"]} if page["next"] else None
    return found, [(await call(session, "GET", f"{broker.url}/v1/events/{offset}/receipts", expect=200))[1]
                   for offset in (0, 57, 199)]


async def test_whatever_happens_to_the_views_folder_receipts_are_those_of_the_ledger(brokers, tmp_path):
    print("seed", SEED)
    draw = random.Random(SEED)
    broker = brokers().start()
    view, whole = broker.data / "views" / "receipts", pathlib.Path(tmp_path / "whole")
    async with http() as session:
        events = [{"channel": f"job.{n % 3}", "data": n} for n in range(200)]
        await call(session, "POST", f"{broker.url}/v1/events", json=events, expect=201)
        for name, channel in (("all", "**"), ("some", "job.1"), ("gone", "job.2")):
            url = f"{broker.url}/v1/subscribers/{name}"
            await call(session, "PUT", url, json={"channels": [channel], "from": "earliest"}, expect=201)
            while (pulled := (await call(session, "POST", f"{url}/pull", json={"max": 7}, expect=200))[1]["events"]):
                for event in pulled:
                    await call(session, "POST", f"{url}/ack", json={"offset": event["offset"]}, expect=200)
        await call(session, "DELETE", f"{broker.url}/v1/subscribers/gone", expect=204)
        told = await everything(session, broker)
        assert len(told[0]) > 300, len(told[0])
        broker.stop()
        shutil.copytree(view, whole)
        for n in range(TIMES):
            shutil.rmtree(view)
            shutil.copytree(whole, view)
            what = harm(view, draw)
            broker.start()
            assert await everything(session, broker) == told, f"seed {SEED}, {n}: {what}"
            # And it goes on from there: what comes now has its receipt too.
            assert len(await receipts(session, broker, subscriber="some")) > 0, f"seed {SEED}, {n}: {what}"
            broker.stop()
