#!/usr/bin/env python3
"""The n-th system call on a data file fails, for n = 1, 2, … to the last one, in the release binary.

    tests/soak/nth_call.py [--calls N] [--singles N] [--seed S] [--only pwrite64,fdatasync] [--phase running]

Each run begins with the same data directory, fails one call of each thread with EIO (writes also with ENOSPC) while
the broker starts or while it works, and then asks from outside whether what it said is true (RELIABILITY.md,
invariants 1 to 4, 8 to 10, 13 and 16): what was acknowledged is there, byte for byte and once, also after a start
without the fault; what was refused for want of space is nowhere; every refusal is a problem; nothing panics.
"""

import argparse
import asyncio
import json
import os
import pathlib
import re
import random
import shutil
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "scenarios"))

import aiohttp  # noqa: E402
from faults import Fault  # noqa: E402
from harness import Broker, eventually, http, stentor  # noqa: E402

# Small enough that a few events roll a segment, and that retention has something to take.
SETTINGS = {"STENTOR_SEGMENTS_EVENTS": "4KiB", "STENTOR_SEGMENTS_LEDGER": "4KiB",
            "STENTOR_RETENTION_MAX_BYTES": "24KiB", "STENTOR_DRAIN": "3s"}
ERRORS = {"pwrite64": ("EIO", "ENOSPC"), "openat": ("EIO", "ENOSPC"), "rename": ("EIO", "ENOSPC")}
CALLS = ("pwrite64", "fdatasync", "fsync", "openat", "rename", "unlink", "ftruncate", "pread64", "read", "getdents64")
PHASES = ("running", "starting")
SINGLES, BATCH, BEFORE = 10, 5, 20
AT_ONCE = 2
# Higher than strace can count to: it strikes nothing, and the trace tells every call.
NEVER = 65535


def paths(data, singles):
    """Everything below the data directory that may be touched; strace knows no patterns."""
    last_offset = 60 + 2 * singles
    names = ["", "stentor.lock", "keys", "keys/secrets.key", "views", "views/segments", "views/receipts",
             "views/receipts/db", "views/receipts/conf", "quarantine"]
    for log in ("events", "ledger"):
        segments = [f"{offset:020}.seg" for offset in range(last_offset)]
        names += [log, *(f"{log}/{name}" for name in ("next.tmp", "durable.meta", "durable.meta.tmp", *segments))]
    # Identities of retired events: one file for each segment that went.
    names += ["ids", *(f"ids/{offset:020}.ids{end}" for offset in range(last_offset) for end in ("", ".tmp"))]
    names += [f"views/segments/{offset:020}{end}" for offset in range(last_offset) for end in (".sum", ".sum.tmp")]
    return [data / name for name in names]


class Oracle:
    """What the broker said, and what was found untrue."""

    def __init__(self):
        self.sent = {}
        self.acknowledged = {}
        self.full = set()
        self.batch = set()
        self.cursor = 0
        self.violations = []

    def copy(self):
        other = Oracle()
        other.sent, other.acknowledged, other.cursor = dict(self.sent), dict(self.acknowledged), self.cursor
        return other

    def hold(self, true, what):
        if not true:
            self.violations.append(what)
        return true

    def check_log(self, start, events, when):
        """Compares the log with what was said of it."""
        places = {}
        for event in events:
            self.hold(event["id"] not in places, f"{when}: {event['id']} is there twice")
            places[event["id"]] = event["offset"]
            self.hold(event["data"] == self.sent.get(event["id"]), f"{when}: {event['id']} is not what was published")
        offsets = [event["offset"] for event in events]
        self.hold(offsets == list(range(start, start + len(offsets))), f"{when}: offsets have holes: {offsets}")
        for id, offset in self.acknowledged.items():
            if offset >= start:
                self.hold(places.get(id) == offset, f"{when}: {id} was acknowledged at {offset}: {places.get(id)}")
        for id in self.full & places.keys():
            self.hold(False, f"{when}: {id} was refused for want of space, and is there")
        there = self.batch & places.keys()
        self.hold(there in (set(), self.batch) or min(places[id] for id in there) == start,
                  f"{when}: of a batch there is {sorted(there)} alone")


class Client:
    """The workload. Every refusal must be a problem; a connection that breaks off, an end of the process, is none."""

    def __init__(self, broker, oracle, session, singles=SINGLES):
        self.broker, self.oracle, self.session, self.singles = broker, oracle, session, singles

    async def ask(self, method, path, **arguments):
        """Gives status and JSON; a refusal that is no problem is a violation."""
        try:
            async with self.session.request(method, self.broker.url + path, **arguments) as answer:
                body = await answer.text()
                if answer.status < 400:
                    return answer.status, body
                problem = answer.headers.get("content-type") == "application/problem+json"
                self.oracle.hold(problem and answer.status >= 500, f"{method} {path}: {answer.status} {body}")
                return answer.status, body
        except aiohttp.ClientPayloadError:
            # An export whose status is out can only break off, and its last line is missing.
            self.oracle.hold(path.startswith("/v1/export"), f"{method} {path} broke off")
            return None, None
        except (aiohttp.ClientError, ConnectionError) as error:
            self.oracle.hold(False, f"{method} {path} was not answered: {error!r}")
            return None, None

    async def publish(self, ids):
        """One event, or a batch."""
        bodies = {id: {"of": id, "pad": "x" * 700} for id in ids}
        self.oracle.sent.update(bodies)
        if len(ids) == 1:
            status, body = await self.ask("POST", "/v1/events/nth.call", json=bodies[ids[0]],
                                          headers={"idempotency-key": ids[0]})
        else:
            self.oracle.batch = set(ids)
            events = [{"channel": "nth.call", "id": id, "data": data} for id, data in bodies.items()]
            status, body = await self.ask("POST", "/v1/events", json=events)
        if status == 507:
            self.oracle.full.update(ids)
        if status == 201:
            told = json.loads(body)
            first = told.get("offset", told.get("first_offset"))
            self.oracle.acknowledged.update({id: first + n for n, id in enumerate(ids)})

    async def listen(self, count):
        """Acknowledges so many events two by two, and waits for each word, as far as it gets."""
        asked, events, caught_up = [], [], False
        try:
            async with self.session.ws_connect(self.broker.ws, params={"subscriber": "listener"}) as socket:
                while count:
                    message = await socket.receive(timeout=10)
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        return self.oracle.hold(socket.close_code in (1011, 4500), f"closed with {socket.close_code}")
                    frame = json.loads(message.data)
                    if frame["op"] == "event":
                        events.append(frame["offset"])
                    elif frame["op"] == "error" and asked:
                        asked.pop(0)
                    elif frame["op"] == "acked":
                        self.oracle.cursor = max(self.oracle.cursor, frame["cursor"])
                        through = asked.pop(0)
                        self.oracle.hold(frame["cursor"] > through, f"the ack of {through} was confirmed as {frame}")
                        count -= 1
                    elif frame["op"] == "caught_up":
                        caught_up = True
                    if caught_up and not events and not asked:
                        # Fewer than were to be published.
                        return
                    while len(asked) < 2 and events:
                        asked.append(events.pop(0))
                        await socket.send_json({"op": "ack", "offset": asked[-1], "confirm": True})
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            self.oracle.hold(False, f"the WebSocket: {error!r}; not answered: acks of {asked}, to come: {events}")

    async def log(self):
        """The whole log, as (start, events); nothing where it could not be read."""
        status, body = await self.ask("GET", "/v1/export?from=0")
        if status != 200:
            return None
        lines = [json.loads(line) for line in body.splitlines()]
        if not lines or "checkpoint" not in lines[-1]:
            return None
        gaps = [line["gap"] for line in lines if "gap" in line]
        # Retention may go on while it is read: gap behind gap, all before the first event.
        start = 0
        for gap in gaps:
            self.oracle.hold(gap["from"] == start, f"a hole in the log: {gaps}")
            start = gap["to"]
        return start, [line for line in lines[:-1] if "gap" not in line]

    async def all_of_it(self):
        """Publishes, reads, acknowledges, rolls, and stays until retention has had its turn."""
        for n in range(self.singles):
            await self.publish([f"single-{n}"])
        await self.publish([f"batch-{n}" for n in range(BATCH)])
        if found := await self.log():
            self.oracle.check_log(*found, "with the fault")
        await self.listen(self.singles // 2)

        async def retention_had_its_turn():
            _, text = await self.ask("GET", "/v1/events?from=earliest&limit=1")
            events = json.loads(text or "{}").get("events")
            return events and events[0]["offset"] > 0

        try:
            await eventually(retention_had_its_turn, within=1.5, every=0.1)
        except AssertionError:
            # Where it cannot write down what it takes, it takes nothing.
            pass
        if found := await self.log():
            self.oracle.check_log(*found, "at the end")


class Bench:
    """The directory that every run begins with, and the runs."""

    def __init__(self, folder, singles=SINGLES):
        self.folder, self.singles = pathlib.Path(folder), singles
        self.template = self.folder / "template"
        self.oracle = Oracle()

    async def prepare(self):
        settings = {**SETTINGS, "STENTOR_RETENTION_MAX_BYTES": "1GiB"}
        broker = Broker(self.template, environment=settings).start()
        async with http() as session:
            client = Client(broker, self.oracle, session)
            await client.ask("PUT", "/v1/subscribers/listener", json={"channels": ["**"], "from": "earliest"})
            for n in range(BEFORE):
                await client.publish([f"before-{n}"])
            await client.listen(3)
        # Killed, so that a start has something to write again.
        broker.close()
        assert not self.oracle.violations, self.oracle.violations

    async def run(self, phase, call, error, n, ends):
        """One run; gives its calls of that kind, how often the fault struck, and what was found untrue."""
        name = f"{phase}-{call}-{error}-{n}"
        data = self.folder / name
        shutil.copytree(self.template, data)
        fault = Fault(self.folder / f"{name}.trace", call, f"error={error}:when={n}", paths(data, self.singles))
        oracle = self.oracle.copy()
        broker = Broker(data, environment=SETTINGS, prefix=fault.prefix if phase == "starting" else ())
        try:
            if await self._start(broker, oracle, phase):
                await self._work(broker, oracle, fault, phase, ends)
            broker.prefix = []
            await self._start_again(broker, oracle)
        finally:
            broker.close()
        log = pathlib.Path(broker.log.name).read_text(errors="replace")
        # sled panics on an I/O error; the view is set aside for it and made again (docs/ARCHITECTURE.md).
        panics = [place for place in re.findall(r"panicked at (\S+)", log) if "/sled-" not in place]
        oracle.hold(not panics, f"it panicked: {panics}")
        hits = fault.hits()
        if not oracle.violations:
            shutil.rmtree(data)
        return fault.calls(), hits, [f"{name} ({hits} hits): {violation}" for violation in oracle.violations]

    async def _start(self, broker, oracle, phase):
        """A start may be refused for a fault, by a line that names the file."""
        try:
            await asyncio.to_thread(broker.start)
            return True
        except AssertionError as refusal:
            oracle.hold(phase == "starting", f"it did not start: {refusal}")
            oracle.hold(str(broker.data) in str(refusal), f"no file is named: {refusal}")
            oracle.hold(broker.process.returncode == 1, f"ended with {broker.process.returncode}: {refusal}")
            return False

    async def _work(self, broker, oracle, fault, phase, ends):
        if phase == "running":
            await asyncio.to_thread(fault.attach, broker.process.pid)
        async with http() as session:
            await Client(broker, oracle, session, self.singles).all_of_it()
        alive = oracle.hold(broker.process.poll() is None, f"it ended by itself with {broker.process.poll()}")
        if alive and ends == "kill":
            broker.kill()
        elif alive:
            broker.process.terminate()
            code = await asyncio.to_thread(broker.process.wait, 30)
            oracle.hold(code in (0, 1), f"it ended with {code}")
        if phase == "running":
            fault.detach()

    async def _start_again(self, broker, oracle):
        """Without the fault everything is as it was said, and it ends in order however slow the machine is."""
        broker.environment["STENTOR_DRAIN"] = "25s"
        if not await self._start(broker, oracle, "again"):
            return
        async with http() as session:
            client = Client(broker, oracle, session)
            found = await client.log()
            if oracle.hold(found, "the log cannot be read after a new start"):
                oracle.check_log(*found, "after a new start")
            status, body = await client.ask("GET", "/v1/subscribers/listener")
            if oracle.hold(status == 200, f"the subscriber: {status} {body}"):
                cursor = json.loads(body)["cursor"]
                oracle.hold(cursor >= oracle.cursor, f"the cursor fell from {oracle.cursor} to {cursor}")
            await client.publish(["after"])
            oracle.hold("after" in oracle.acknowledged, "nothing can be published after a new start")
        broker.process.terminate()
        code = await asyncio.to_thread(broker.process.wait, 30)
        oracle.hold(code == 0, f"it ended with {code} after a new start")
        checked = await asyncio.to_thread(lambda: stentor("verify", broker.data, check=False))
        oracle.hold(checked.returncode == 0, f"verify: {checked.stdout}{checked.stderr}")


async def campaign(folder, *, calls, seed, only=CALLS, phases=PHASES, step=1, singles=SINGLES):
    """All runs, until a call of a kind is never reached; gives the summary."""
    bench = Bench(folder, singles)
    await bench.prepare()
    dice = random.Random(seed)
    to_try = [(phase, call, error) for phase in phases for call in only for error in ERRORS.get(call, ("EIO",))]
    places = asyncio.Semaphore(AT_ONCE)
    kinds, violations = {}, []

    async def one(phase, call, error, n, ends):
        async with places:
            there, hits, found = await bench.run(phase, call, error, n, ends)
        violations.extend(found)
        for violation in found:
            print(violation, file=sys.stderr, flush=True)
        return there, hits

    async def kind(phase, call, error):
        there, _ = await one(phase, call, error, NEVER, "stop")
        runs, struck = 0, 0
        for n in range(1, calls + 1, step):
            _, hits = await one(phase, call, error, n, dice.choice(["kill", "stop"]))
            if not hits:
                break
            runs, struck = runs + 1, struck + hits
        told = kinds[f"{phase} {call} {error}"] = {"calls": there, "runs": runs, "struck": struck}
        print(phase, call, error, told, f"{len(violations)} violations", file=sys.stderr, flush=True)

    waiting = iter(to_try)

    async def hand():
        for each in waiting:
            await kind(*each)

    await asyncio.gather(*(hand() for _ in range(AT_ONCE)))
    # Each kind of call once, whatever errors it is given.
    workload = {kind.rsplit(" ", 1)[0]: told["calls"] for kind, told in kinds.items()}
    return {"seed": seed, "calls": sum(workload.values()), "runs": sum(told["runs"] for told in kinds.values()),
            "struck": sum(told["struck"] for told in kinds.values()), "kinds": kinds,
            "violations": violations}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--calls", type=int, default=1000, help="at most so many n for each kind of call")
    options.add_argument("--singles", type=int, default=SINGLES, help="events published one by one; half are acknowledged")
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options.add_argument("--only", default=",".join(CALLS), help="system calls, with commas between them")
    options.add_argument("--phase", choices=PHASES, help="only while it starts, or only while it works")
    options.add_argument("--keep", help="a folder for what is left of runs that found something")
    given = options.parse_args()
    folder = given.keep or tempfile.mkdtemp(prefix="stentor-nth-call-")
    os.makedirs(folder, exist_ok=True)
    summary = asyncio.run(campaign(folder, calls=given.calls, seed=given.seed, only=given.only.split(","),
                                   phases=[given.phase] if given.phase else PHASES, singles=given.singles))
    print(json.dumps(summary, indent=1))
    if not given.keep:
        shutil.rmtree(folder)
    return 1 if summary["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
