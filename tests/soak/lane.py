"""One broker after the other on one data directory, under load, killed and started; and the oracles' verdict."""

import asyncio
import base64
import collections
import pathlib
import random
import shutil
import traceback

import aiohttp

from webhook import SECRET, Endpoint
from endpoint_oracle import EndpointOracle
from violations import Faults
from harness import verify
from listener_oracle import ListenerOracle
from traffic import BROKEN, Listener, Publisher
from log_oracle import LogOracle
from process import Death, Process, Refused, planned
from reading import Reading, get

# name, most events in a batch
PUBLISHERS = [("one", 1), ("other", 1), ("few", 4), ("many", 20)]
# name, patterns, window, events a frame
LISTENERS = [("everything", ["**"], 16, None), ("keys", ["key.*"], 3, None),
             ("changes", ["*.changed", "*.deleted"], 64, 20)]
# name, patterns, in_flight
CONNECTORS = [("ordered", ["policy.*"], 1), ("lanes", ["key.*", "user.deleted"], 4)]

UNHARMED = Death("none", 0)
# A life, or the end of a generation, that takes longer hangs.
LIFE_WITHIN = 120


class Generation:
    """One data directory, from its first start to its verification."""

    def __init__(self, directory, seed, figures):
        self.directory, self.seed, self.figures = pathlib.Path(directory), seed, figures
        self.data = self.directory / "data"
        self.dice = dice = random.Random(seed)
        self.settings = {
            "STENTOR_SEGMENTS_EVENTS": dice.choice(("4KiB", "8KiB", "16KiB", "64KiB")),
            "STENTOR_SEGMENTS_LEDGER": dice.choice(("4KiB", "8KiB", "32KiB")),
            "STENTOR_RETENTION_MAX_BYTES": dice.choice(("32KiB", "128KiB", "512KiB")),
        }
        self.faults = Faults()
        self.log = LogOracle(self.faults)
        self.publishers = [Publisher(name, self.log, self._dice(name), most) for name, most in PUBLISHERS]
        self.listeners = [
            Listener(self.log, ListenerOracle(self.faults, name, patterns, window), self._dice(name), batch)
            for name, patterns, window, batch in LISTENERS]
        self.endpoints = [
            Endpoint(name, self.log, EndpointOracle(self.faults, name, patterns, in_flight), self._dice(name))
            for name, patterns, in_flight in CONNECTORS]
        self.reading = Reading(self.log, self.publishers, self.listeners, self.endpoints, self._dice("reading"))
        # The last deaths, for the story.
        self.deaths = collections.deque(maxlen=10)

    def _dice(self, name):
        return random.Random(f"{self.seed} {name}")

    async def run(self, cycles, progress):
        """So many lives and deaths, then the end; the faults say what was wrong."""
        self.directory.mkdir(parents=True)
        with open(self.directory / "broker.log", "ab") as self.stderr:
            for endpoint in self.endpoints:
                await endpoint.open()
            try:
                # A directory whose making is interrupted too.
                for _ in range(self.dice.randrange(4)):
                    await self._life(self._death(), self._idle)
                await self._life(UNHARMED, self._make)
                for _ in range(cycles):
                    await self._life(self._death(), self._load)
                    self.figures["cycles"] += 1
                    progress()
                    if self.faults:
                        break
                if not self.faults:
                    await self._end()
            except Refused as refused:
                self.figures["refused starts"] += 1
                self.faults.add("refused", str(refused))
            except Exception:
                self.faults.add("broke", traceback.format_exc())
            finally:
                for endpoint in self.endpoints:
                    await endpoint.close()
        for line in (self.directory / "broker.log").read_text(errors="replace").splitlines():
            if '"level":"ERROR"' in line or "panicked" in line:
                self.faults.add("broker's word", line)
        self._count()
        if not self.faults:
            shutil.rmtree(self.directory)

    def _death(self):
        starts = self.figures["starts"]
        return planned(self.dice, self.deaths[-1] if self.deaths else UNHARMED, starts[-1] if starts else 0.03)

    async def _life(self, death, work):
        """One process: from its start to its death."""
        self.deaths.append(death)
        process = await Process.start(self.data, death, self.settings, self.stderr)
        # A death by a system call before the ready line is one too.
        status = process.process.returncode if death.syscall else None
        try:
            async with asyncio.timeout(LIFE_WITHIN):
                if process.url:
                    if not death.syscall:
                        self.figures["starts"].append(process.took)
                    status = await work(process)
        finally:
            process.kill()
            await process.process.wait()
        for endpoint in self.endpoints:
            await endpoint.drained()
        if status is not None and not death.brought(status):
            raise Refused(f"it ended by itself with status {status}")
        if death != UNHARMED:
            kind = "random" if process.url else "startup"
            self.figures["kills"][kind if status is None else death.syscall] += 1

    async def _make(self, process):
        """Makes everybody, before the first kill."""
        async with aiohttp.ClientSession() as session:
            for listener in self.listeners:
                body = {"channels": listener.oracle.patterns, "window": listener.oracle.window, "ack_timeout": "10m",
                        "from": "earliest"}
                await self._put(session, f"{process.url}/v1/subscribers/{listener.name}", body)
            for endpoint in self.endpoints:
                body = {"url": endpoint.url, "channels": endpoint.oracle.patterns, "from": "earliest",
                        "in_flight": endpoint.oracle.in_flight, "retry": {"initial": "5ms", "max": "40ms"},
                        "secret": "whsec_" + base64.b64encode(SECRET).decode()}
                await self._put(session, f"{process.url}/v1/connectors/{endpoint.name}", body)
        process.kill()

    async def _put(self, session, url, body):
        async with session.put(url, json=body) as answer:
            assert answer.status == 201, f"{url}: {answer.status} {await answer.text()}"

    async def _load(self, process):
        """Everybody at work until the death; gives its exit status where nobody here brought it."""
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            for publisher in self.publishers:
                group.create_task(publisher.run(session, process.url))
            for listener in self.listeners:
                group.create_task(listener.run(session, process.url))
            group.create_task(self._read(session, process.url))
            return await process.dies()

    async def _idle(self, process):
        """Nobody is there yet."""
        return await process.dies()

    async def _read(self, session, url):
        try:
            await self.reading.all(session, url)
        except BROKEN:
            # Killed meanwhile: the next life reads on from here.
            pass

    async def _end(self):
        """All faults stop, everything drains; then the whole of it is read and verified."""
        for endpoint in self.endpoints:
            endpoint.calm()
        for listener in self.listeners:
            listener.calm = True
        await self._life(UNHARMED, self._drain)
        report = await asyncio.to_thread(verify, self.data)
        # Retention may have gone on behind the last reading.
        if report["end"] != self.log.highest + 1 or report["start"] < self.log.start:
            self.faults.add("lost", f"verified: {report}; expected {self.log.start} to {self.log.highest + 1}")

    async def _drain(self, process):
        async with aiohttp.ClientSession() as session:
            for publisher in self.publishers:
                await publisher.run(session, process.url, finish=True)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(listener.run(session, process.url)) for listener in self.listeners]
                paths = [f"subscribers/{listener.name}" for listener in self.listeners]
                paths += [f"connectors/{endpoint.name}" for endpoint in self.endpoints]
                for path in paths:
                    while (await get(session, f"{process.url}/v1/{path}"))["lag"]:
                        await asyncio.sleep(0.02)
                for task in tasks:
                    task.cancel()
            await self.reading.all(session, process.url, whole=True)
        await process.stop()

    def _count(self):
        figures = self.figures
        figures["acknowledged"] += sum(publisher.acknowledged for publisher in self.publishers)
        figures["read back"] += self.log.read_back
        figures["retired"] += self.log.start
        figures["receipts looked at"] += self.reading.receipts
        for listener in self.listeners:
            figures["heard"] += listener.oracle.deliveries
            figures["seeks"] += listener.oracle.era - 1
            share = f"{listener.name} {listener.oracle.most_again}/{listener.oracle.window}"
            figures["repeats"][listener.name] = max(figures["repeats"].get(listener.name, (0, "")),
                                                    (listener.oracle.most_again, share))
        for endpoint in self.endpoints:
            figures["called"] += endpoint.oracle.requests.total()
            share = f"{endpoint.name} {endpoint.oracle.most_again}/{endpoint.oracle.in_flight}"
            figures["repeats"][endpoint.name] = max(figures["repeats"].get(endpoint.name, (0, "")),
                                                    (endpoint.oracle.most_again, share))
        figures["faults"].update(self.faults.counted)


def no_figures():
    """What a lane counts."""
    return {"cycles": 0, "kills": collections.Counter(), "acknowledged": 0, "read back": 0, "retired": 0, "heard": 0,
            "called": 0, "seeks": 0, "receipts looked at": 0, "refused starts": 0, "starts": [], "repeats": {},
            "faults": collections.Counter()}


async def run_lane(directory, seed, cycles, generation, progress):
    """Data directory after data directory; gives the figures and, where something was wrong, the story."""
    figures = no_figures()
    number = 0
    while figures["cycles"] < cycles:
        place = pathlib.Path(directory) / f"generation-{number}"
        one = Generation(place, f"{seed} generation {number}", figures)
        began = figures["cycles"]
        await one.run(min(generation, cycles - began), lambda: progress(figures))
        if one.faults:
            story = [f"seed {one.seed!r}, cycle {figures['cycles'] - began}, data in {place}, {one.settings}",
                     *(f"  death: {death}" for death in one.deaths), *(f"  {line}" for line in one.faults.stories[:20])]
            return figures, "\n".join(story)
        number += 1
    return figures, None
