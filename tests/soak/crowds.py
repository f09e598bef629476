"""Ten thousand at once: idle, stalled, away and back; and an endpoint with one event that it never takes."""

import asyncio
import collections
import concurrent.futures
import multiprocessing
import os
import time
import types

from endpoint import endpoint
from harness import call, eventually, http
from listening import listening
from raw_socket import RawSocket

LISTENERS, SAMPLES, PAUSE = 8, 300, 0.02
# Where two p99 are compared: of 300 it is the third longest, which says more of the disk than of the crowd.
SAMPLES_TO_COMPARE = 1_500
# What a stalled client's socket takes is filled by these before anything is measured.
FILLERS, FILLER = 40, "x" * 16_000


def resident(broker):
    """KiB that the broker has in memory."""
    with open(f"/proc/{broker.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def processor_seconds(broker):
    """What the broker has used; the clients share the machine with it."""
    with open(f"/proc/{broker.process.pid}/stat") as stat:
        user, system = stat.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def at_rest(broker):
    """Waits until the broker has had nothing to do for a second: everybody has got what his socket takes."""
    used, before = processor_seconds(broker), -1
    while used - before > 0.05:
        await asyncio.sleep(1)
        used, before = processor_seconds(broker), used


def spread(took):
    """Median, p99 and the longest, in ms."""
    ordered = sorted(took)
    return {"p50_ms": round(ordered[len(ordered) // 2], 2), "p99_ms": round(ordered[len(ordered) * 99 // 100], 2),
            "max_ms": round(ordered[-1], 2)}


async def crowd(count, make, at_once=200):
    """Runs `make(n)` for all of them, so many at once; gives what came of it."""
    places = asyncio.Semaphore(at_once)

    async def one(n):
        async with places:
            return await make(n)

    return await asyncio.gather(*(one(n) for n in range(count)))


def leave(sockets):
    for one in sockets:
        one.close()


async def follow(url, ws, channel, samples):
    """Milliseconds from a publish's request to its frame, for a few listeners that keep up."""
    broker = types.SimpleNamespace(url=url, ws=ws)
    took = []
    there = asyncio.Barrier(LISTENERS + 1)

    async def listen(session):
        async with listening(session, broker, channels=channel) as listener:
            await there.wait()
            for _ in range(samples):
                event = await listener.event(within=60)
                took.append((time.monotonic() - event["data"]["at"]) * 1_000)

    async with http() as session, asyncio.TaskGroup() as group:
        for _ in range(LISTENERS):
            group.create_task(listen(session))
        await there.wait()
        for _ in range(samples):
            await call(session, "POST", f"{url}/v1/events/{channel}", json={"at": time.monotonic()}, expect=201)
            await asyncio.sleep(PAUSE)
    return spread(took)


def followed(*where):
    return asyncio.run(follow(*where))


async def latencies(broker, channel, samples=SAMPLES):
    """What `follow` gives, from a process of its own: a crowd keeps this one busy."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as aside:
        where = (broker.url, broker.ws, channel, samples)
        return await asyncio.get_running_loop().run_in_executor(aside, followed, *where)


async def idle(session, broker, count, path="/v1/ws"):
    """What a connection costs that says nothing."""
    before = resident(broker)
    began = time.monotonic()
    sockets = await crowd(count, lambda n: RawSocket(broker.port, path, n).open())
    figures = {"kib_each": round((resident(broker) - before) / count, 2),
               "opened_in_s": round(time.monotonic() - began, 1)}
    leave(sockets)
    await eventually(lambda: sessions_are_over(session, broker), within=60, what="all are gone")
    return {**figures, "resident_mib_before": before >> 10, "resident_mib_after": resident(broker) >> 10}


async def idle_listening(session, broker, count):
    """The same, where it listens to a channel on which nothing comes."""
    return await idle(session, broker, count, "/v1/ws?channels=quiet.*")


async def sessions_are_over(session, broker):
    async with session.get(f"{broker.url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return all(line.endswith(" 0") for line in lines if line.startswith("stentor_sessions{"))


async def stalled(session, broker, count):
    """What connections cost that listen and stop reading, and what they cost those who go on."""
    alone = await latencies(broker, "busy.quick", SAMPLES_TO_COMPARE)
    before = resident(broker)
    path = "/v1/ws?channels=busy.*"
    sockets = await crowd(count, lambda n: RawSocket(broker.port, path, n, receive_buffer=2_048).open())
    opened = resident(broker)
    for _ in range(FILLERS):
        await call(session, "POST", f"{broker.url}/v1/events/busy.filler", json=FILLER, expect=201)
    await call(session, "POST", f"{broker.url}/v1/events/busy.last", json=0, expect=201)
    await at_rest(broker)
    full = resident(broker)
    among = await latencies(broker, "busy.quick", SAMPLES_TO_COMPARE)
    memory = {"open": opened, "stalled": full, "at_the_end": resident(broker)}
    leave(sockets)
    each = {f"kib_each_{when}": round((then - before) / count, 2) for when, then in memory.items()}
    return {**each, "alone": alone, "among_stalled": among}


async def returning(session, broker, count, events=20):
    """Durable subscribers that were away and return at once: until all have everything and their acks are durable."""
    alone = await latencies(broker, "live.quick")

    async def make(n):
        settings = {"channels": ["missed.*"], "from": "latest"}
        await call(session, "PUT", f"{broker.url}/v1/subscribers/away-{n}", json=settings, expect=201)

    await crowd(count, make)
    began_at = None
    for n in range(events):
        _, placed = await call(session, "POST", f"{broker.url}/v1/events/missed.once", json=n, expect=201)
        began_at = placed["offset"] if began_at is None else began_at
    expected = list(range(began_at, began_at + events))
    took = []
    began, used = time.monotonic(), processor_seconds(broker)

    async def come_back(n):
        socket = await RawSocket(broker.port, f"/v1/ws?subscriber=away-{n}&batch=100", n).open()
        got = []
        while got != expected:
            frame = await socket.frame()
            if frame["op"] == "events":
                got += [event["offset"] for event in frame["events"]]
                assert got == expected[:len(got)], f"away-{n} got {got}"
        await socket.send({"op": "ack", "offset": expected[-1], "confirm": True})
        while (frame := await socket.frame())["op"] != "acked":
            assert frame["op"] == "caught_up", frame
        assert frame["cursor"] > expected[-1]
        took.append((time.monotonic() - began) * 1_000)
        socket.close()

    live = asyncio.create_task(latencies(broker, "live.quick"))
    await crowd(count, come_back, at_once=1_000)
    all_back, used = time.monotonic() - began, processor_seconds(broker) - used
    return {"events_each": events, "all_acked_in_s": round(all_back, 2), "broker_cpu_s": round(used, 2),
            "returned": spread(took), "live_alone": alone, "live_meanwhile": await live}


async def poison(session, broker, count):
    """A connector with one event that its endpoint never takes, among good ones."""
    good = min(count, 2_000)
    at = good // 2
    async with endpoint(lambda event: 500 if event["data"] == "poison" else 200) as receiver:
        await call(session, "PUT", f"{broker.url}/v1/connectors/receiver", expect=201,
                   json={"url": receiver.url, "channels": ["water.*"], "from": "earliest", "in_flight": 16,
                         "retry": {"initial": "20ms", "max": "200ms"}})
        events = [{"channel": "water.drunk", "key": f"key-{n % 100}", "data": n} for n in range(good)]
        events.insert(at, {"channel": "water.drunk", "key": "bad", "data": "poison"})
        began = time.monotonic()
        await call(session, "POST", f"{broker.url}/v1/events", json=events, expect=201)
        await eventually(lambda: len(receiver.accepted) >= good, within=120, what="every good event is delivered")
        attempts = collections.Counter(receiver.attempts)
        return {"good": good, "delivered_in_s": round(time.monotonic() - began, 2), "poison_attempts": attempts[at],
                "good_ones_sent_again": len(receiver.accepted) - len(set(receiver.accepted))}
