"""A start behind a kill, with as many acks in the ledger as there were events."""

import asyncio
import json
import time

from harness import call, http

BATCH, WINDOW = 5_000, 10_000


async def fill(session, broker, count):
    """Publishes so many events."""
    for first in range(0, count, BATCH):
        lines = "\n".join(json.dumps({"channel": "key.acked", "data": n}) for n in range(first, min(first + BATCH, count)))
        await call(session, "POST", f"{broker.url}/v1/events", data=lines, expect=201,
                   headers={"content-type": "application/x-ndjson"})


async def acknowledge(session, broker, count):
    """Acknowledges every event by an ack of its own, the last one so that it is durable; ends with the cursor."""
    query = {"channels": "key.acked", "subscriber": "each", "from": "earliest", "window": str(WINDOW), "batch": "500"}
    async with session.ws_connect(broker.ws, params=query, max_msg_size=0) as socket:
        done = 0
        while done < count:
            frame = json.loads((await socket.receive(timeout=30)).data)
            for event in frame.get("events", []):
                done = event["offset"] + 1
                last = {"confirm": True} if done == count else {}
                await socket.send_str(json.dumps({"op": "ack", "offset": event["offset"], **last}))
            assert frame["op"] != "error", frame
        while frame["op"] != "acked":
            frame = json.loads((await socket.receive(timeout=30)).data)
    return frame["cursor"]


async def restart(session, broker, count):
    """Seconds from the start of the process to the first publish's answer, behind a kill."""
    await fill(session, broker, count)
    began = time.monotonic()
    assert await acknowledge(session, broker, count) == count
    took = time.monotonic() - began
    ledger = sum(file.stat().st_size for file in (broker.data / "ledger").iterdir())
    starts = []
    for n in range(5):
        broker.kill()
        began = time.monotonic()
        await asyncio.to_thread(broker.start)
        async with http() as fresh:
            await call(fresh, "POST", f"{broker.url}/v1/events/key.back", json=n, expect=201)
        starts.append(round(time.monotonic() - began, 3))
        _, shown = await call(session, "GET", f"{broker.url}/v1/subscribers/each", expect=200)
        assert shown["cursor"] == count + n + 1, shown
    return {"acks": count, "acks_per_second": round(count / took), "ledger_bytes": ledger, "starts_s": starts}
