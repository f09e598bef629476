"""The storm: publishers that repeat themselves, listeners that come and go, endpoints that flap, a broker that is
killed again and again. What was acknowledged is there, once; everyone who asked has it, in order, at least once."""

import asyncio
import bisect
import collections
import contextlib
import json
import os
import random
import socket
import time

import aiohttp
from aiohttp import web

from harness import call, eventually, http, report, verify
from patterns import matches

SEED = int(os.environ.get("STENTOR_SEED", random.SystemRandom().randrange(2**32)))
EVENTS = int(os.environ.get("STENTOR_STORM_EVENTS", 100_000))
PUBLISHERS, BATCH, KILLS, SAMPLE = 16, 20, 10, 200
# However slow the machine: then it has hung.
TIME_LIMIT = int(os.environ.get("STENTOR_STORM_SECONDS", 900))

CHANNELS = [f"{area}.{verb}" for area in ("key", "policy", "user", "invoice")
            for verb in ("activated", "revoked", "approved", "changed", "deleted")]

# name, patterns, window, events a frame
LISTENERS = [
    ("everything", ["**"], 256, 100),
    ("keys", ["key.*"], 256, None),
    ("keys-twice", ["key.*", "key.activated", "*.activated"], 64, 100),
    ("deletions", ["*.deleted"], 16, None),
    ("users", ["user.**", "invoice.**"], 512, 100),
    ("approvals", ["*.approved", "policy.*"], 128, None),
    ("two", ["key.activated", "invoice.changed"], 1, None),
    ("slow", ["policy.approved", "user.changed"], 32, None),
]

# name, patterns, in_flight, share of refusals
CONNECTORS = [("steady", ["policy.*"], 8, 0.0), ("flapping", ["key.activated"], 1, 0.1)]


class Storm:
    """What was planned, what has happened."""

    def __init__(self, broker, session):
        self.broker, self.session = broker, session
        dice = random.Random(SEED)
        self.plan = []
        for publisher in range(PUBLISHERS):
            count = EVENTS // PUBLISHERS + (publisher < EVENTS % PUBLISHERS)
            self.plan.append([(f"p{publisher}-{n}", dice.choice(CHANNELS)) for n in range(count)])
        counted = collections.Counter(channel for events in self.plan for _, channel in events)
        self.expected = {name: sum(n for channel, n in counted.items() if matches(patterns, channel))
                         for name, patterns, *_ in (*LISTENERS, *CONNECTORS)}
        # id -> offset, as publishers were told
        self.acknowledged = {}
        self.repeats = self.kills = 0
        self.listeners = []
        self.endpoints = []

    def progress(self):
        return (len(self.acknowledged) + sum(len(listener.first) for listener in self.listeners)
                + sum(len(endpoint.first) for endpoint in self.endpoints))

    def total(self):
        return EVENTS + sum(self.expected.values())

    async def publisher(self, number):
        """Publishes batch after batch; whatever goes wrong, the same ids again."""
        dice = random.Random(f"{SEED} publisher {number}")
        events = self.plan[number]
        for start in range(0, len(events), BATCH):
            batch = events[start:start + BATCH]
            body = "".join(f'{{"channel":"{channel}","id":"{id}","key":"{id[-2:]}","data":{{"of":"{id}"}}}}\n'
                           for id, channel in batch)
            for attempt in range(1_000):
                try:
                    async with self.session.post(f"{self.broker.url}/v1/events", data=body,
                                                 headers={"content-type": "application/x-ndjson"}) as answer:
                        text = await answer.text()
                        if answer.status in (200, 201):
                            break
                        assert answer.status in (503, 507), f"a publish was refused: {answer.status} {text}"
                except (aiohttp.ClientError, ConnectionError, TimeoutError):
                    pass
                self.repeats += 1
                await asyncio.sleep(dice.uniform(0.005, 0.05))
            else:
                raise AssertionError(f"publisher {number} was never answered")
            told = json.loads(text)
            assert told["count"] == len(batch)
            offsets = told.get("offsets") or range(told["first_offset"], told["last_offset"] + 1)
            assert len(offsets) == len(batch), f"the offsets of a batch have holes: {told}"
            self.acknowledged.update((id, offset) for (id, _), offset in zip(batch, offsets))

    async def killer(self):
        """Ten kills, at random places of the whole way."""
        dice = random.Random(f"{SEED} kills")
        took = []
        # Not in the last part, in which only the slowest is under way.
        for at in sorted(dice.sample(range(self.total() * 9 // 10), KILLS)):
            await eventually(lambda: self.progress() >= at, within=TIME_LIMIT, what=f"{at} steps of the way")
            self.broker.kill()
            self.kills += 1
            began = time.monotonic()
            await asyncio.to_thread(self.broker.start)
            took.append(time.monotonic() - began)
        return took


class Listener:
    """A durable subscriber that disconnects as it likes, and acknowledges now and then."""

    def __init__(self, storm, name, patterns, window, batch):
        self.storm, self.name, self.patterns, self.window = storm, name, patterns, window
        self.dice = random.Random(f"{SEED} listener {name}")
        self.query = {"subscriber": name, "channels": ",".join(patterns), "window": str(window), "ack_timeout": "10m"}
        if batch:
            self.query["batch"] = str(batch)
        # Offsets in the order in which they came first.
        self.first = []
        self.ids = []
        self.deliveries = self.ends = 0
        self.most_again = (0, "")
        # The last cursor that was confirmed.
        self.durable = 0
        self.done = False

    def has_all(self):
        return len(self.first) == self.storm.expected[self.name]

    async def run(self):
        for _ in range(20_000):
            if self.done:
                return
            try:
                async with self.storm.session.ws_connect(self.storm.broker.ws, params=self.query, compress=0,
                                                         max_msg_size=0, autoping=True) as socket:
                    await self.session(socket)
            except (aiohttp.ClientError, ConnectionError, TimeoutError):
                await asyncio.sleep(self.dice.uniform(0.005, 0.05))
        raise AssertionError(f"{self.name} was never done")

    async def session(self, socket):
        """One connection, until it is done, breaks it off, or loses it."""
        cursor = last = None
        again = unacknowledged = 0
        # It leaves after so many events, sometimes at once; how it leaves is chance too.
        leaves_after = self.dice.choice([self.dice.randrange(1, 2 * self.window + 2),
                                         self.dice.randrange(1, max(len(self.first), 20 * self.window))])
        acks_after = self.dice.randrange(1, self.window + 1)
        came = 0
        try:
            while True:
                message = await socket.receive(timeout=120)
                if message.type is not aiohttp.WSMsgType.TEXT:
                    assert socket.close_code in (None, 1000, 1006, 1011, 1012, 4410), f"closed: {socket.close_code}"
                    return
                frame = json.loads(message.data)
                op = frame["op"]
                if op == "subscribed":
                    cursor = frame["cursor"]
                    assert cursor >= self.durable, f"{self.name}: the cursor {cursor} fell below {self.durable}"
                    # The answer to its last ack may have been lost with the connection.
                    if self.has_all() and cursor > self.first[-1]:
                        self.done = True
                        return
                    continue
                if op == "acked":
                    self.durable = max(self.durable, frame["cursor"])
                    if self.has_all() and frame["cursor"] > self.first[-1]:
                        self.done = True
                        return
                    continue
                if op == "caught_up":
                    continue
                assert op in ("event", "events"), f"{self.name} was told {frame}"
                for event in frame["events"] if op == "events" else (frame,):
                    offset = event["offset"]
                    assert offset >= self.durable, f"{self.name}: {offset} came again below the durable {self.durable}"
                    assert last is None or offset > last, f"{self.name}: {offset} came behind {last}"
                    last = offset
                    self.deliveries += 1
                    came += 1
                    unacknowledged += 1
                    if not self.first or offset > self.first[-1]:
                        self.first.append(offset)
                        self.ids.append(event["id"])
                    else:
                        again += 1
                assert unacknowledged <= self.window, f"{self.name}: {unacknowledged} open, the window is {self.window}"
                if self.has_all() and last == self.first[-1]:
                    await socket.send_str(f'{{"op":"ack","offset":{last},"confirm":true}}')
                    unacknowledged = 0
                elif came >= leaves_after:
                    return
                elif unacknowledged >= acks_after:
                    # At times the newest are left open.
                    if self.name == "slow":
                        await asyncio.sleep(self.dice.uniform(0, 0.05))
                    confirm = ',"confirm":true' if self.dice.random() < 0.2 else ""
                    await socket.send_str(f'{{"op":"ack","offset":{last}{confirm}}}')
                    unacknowledged = 0
                    acks_after = self.dice.randrange(1, self.window + 1)
        finally:
            self.ends += 1
            kills = self.storm.kills
            self.most_again = max(self.most_again, (again, f"after kill {kills}"))
            if self.dice.random() < 0.5 and not socket.closed:
                # No goodbye: the connection is just gone.
                with contextlib.suppress(AttributeError):
                    socket._response.connection.transport.abort()


class Endpoint:
    """The receiver of a connector."""

    def __init__(self, name, in_flight, refuses):
        self.name, self.in_flight, self.refuses = name, in_flight, refuses
        self.dice = random.Random(f"{SEED} endpoint {name}")
        self.first = {}
        self.accepted = self.refused = 0
        self.in_order_of_key = collections.defaultdict(list)
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/"
        self.runner = web.ServerRunner(web.Server(self.receive))

    async def open(self):
        await self.runner.setup()
        await web.SockSite(self.runner, self.socket, backlog=1024).start()

    async def receive(self, request):
        event = json.loads(await request.read())
        if self.refuses and self.dice.random() < self.refuses:
            self.refused += 1
            return web.Response(status=500)
        self.accepted += 1
        if event["offset"] not in self.first:
            self.first[event["offset"]] = event["id"]
            self.in_order_of_key[event.get("key")].append(event["offset"])
        return web.Response(status=200)


async def exported(session, broker):
    """The whole log, as (id, channel) by offset."""
    events = []
    async with session.get(f"{broker.url}/v1/export", timeout=aiohttp.ClientTimeout(total=300)) as answer:
        assert answer.status == 200
        last = None
        # Lines may be cut by chunks.
        rest = b""
        async for chunk in answer.content.iter_chunked(1 << 20):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if "checkpoint" in event:
                    last = event
                    continue
                assert "gap" not in event, f"the log has a hole: {event}"
                assert event["offset"] == len(events)
                events.append((event["id"], event["channel"]))
        assert not rest and last is not None, "the export is not whole"
        assert (last["from"], last["to"], last["events"]) == (0, len(events), len(events))
    return events


async def test_everyone_has_every_event_in_order_whatever_breaks_off(broker):
    report(f"seed {SEED}, {EVENTS} events")
    began = time.monotonic()
    async with asyncio.timeout(TIME_LIMIT), http() as session:
        storm = Storm(broker, session)
        for name, patterns, window, batch in LISTENERS:
            await call(session, "PUT", f"{broker.url}/v1/subscribers/{name}", expect=201,
                       json={"channels": patterns, "window": window, "ack_timeout": "10m"})
            storm.listeners.append(Listener(storm, name, patterns, window, batch))
        for name, patterns, in_flight, refuses in CONNECTORS:
            endpoint = Endpoint(name, in_flight, refuses)
            await endpoint.open()
            storm.endpoints.append(endpoint)
            await call(session, "PUT", f"{broker.url}/v1/connectors/{name}", expect=201,
                       json={"url": endpoint.url, "channels": patterns, "in_flight": in_flight,
                             "retry": {"initial": "5ms", "max": "50ms"}})
        try:
            try:
                restarts = await run(storm, began)
            except BaseException:
                for each in (*storm.listeners, *storm.endpoints):
                    report(f"{each.name}: has {len(each.first)} of {storm.expected[each.name]}")
                report(f"{len(storm.acknowledged)} acknowledged, {storm.kills} kills")
                raise
            await holds(storm, session, broker)
        finally:
            for endpoint in storm.endpoints:
                await endpoint.runner.cleanup()
    report(f"starts after a kill: median {sorted(restarts)[len(restarts) // 2]:.3f} s, max {max(restarts):.3f} s")
    broker.stop()
    checked = time.monotonic()
    report(f"verify: {verify(broker.data)} in {time.monotonic() - checked:.1f} s; "
           f"all of it {time.monotonic() - began:.1f} s")


async def run(storm, began):
    """Until everybody has everything; whatever fails first ends it."""
    async with asyncio.TaskGroup() as group:
        killer = group.create_task(storm.killer())
        publishers = [group.create_task(storm.publisher(number)) for number in range(PUBLISHERS)]
        listeners = [group.create_task(listener.run()) for listener in storm.listeners]
        await asyncio.wait(publishers)
        report(f"published after {time.monotonic() - began:.1f} s, {storm.repeats} repeats")
        await asyncio.wait([killer, *listeners])
        report(f"heard after {time.monotonic() - began:.1f} s")
        await eventually(lambda: all(len(endpoint.first) == storm.expected[endpoint.name]
                                     for endpoint in storm.endpoints),
                         within=TIME_LIMIT, what="the endpoints have accepted everything")
        report(f"sent after {time.monotonic() - began:.1f} s")
    return killer.result()


async def holds(storm, session, broker):
    """What was promised."""
    log = await exported(session, broker)
    # One endpoint refuses by chance, and five times in a row now and then: of that the broker tells in the log.
    published = [(offset, id, channel) for offset, (id, channel) in enumerate(log) if not channel.startswith("$")]
    assert len(published) == EVENTS, "the log holds more or less than was published"
    offsets = {id: offset for offset, id, _ in published}
    assert len(offsets) == EVENTS, "an event is in the log twice"
    assert offsets == storm.acknowledged, "an acknowledged event is not where its publisher was told"
    assert {(id, channel) for _, id, channel in published} == {event for events in storm.plan for event in events}

    matching = {name: [offset for offset, _, channel in published if matches(patterns, channel)]
                for name, patterns, *_ in (*LISTENERS, *CONNECTORS)}
    faults = []
    for listener in storm.listeners:
        again = listener.deliveries - len(listener.first)
        report(f"{listener.name}: {len(listener.first)} events, {listener.deliveries} deliveries, "
               f"{listener.ends} sessions, window {listener.window}, most again in one session {listener.most_again}")
        assert listener.first == matching[listener.name], f"{listener.name} has not seen all, or not in order"
        assert listener.ids == [log[offset][0] for offset in listener.first]
        _, shown = await call(session, "GET", f"{broker.url}/v1/subscribers/{listener.name}", expect=200)
        assert (shown["cursor"], shown["lag"], shown["open"]) == (len(log), 0, 0), shown
        if again > listener.window * listener.ends:
            faults.append(f"{listener.name}: {again} duplicates in {listener.ends} sessions, window {listener.window}")
        if listener.most_again[0] > listener.window:
            faults.append(f"{listener.name}: {listener.most_again} duplicates in a session, window {listener.window}")

    for endpoint in storm.endpoints:
        async def through():
            _, shown = await call(session, "GET", f"{broker.url}/v1/connectors/{endpoint.name}", expect=200)
            return shown["lag"] == 0
        await eventually(through, what=f"{endpoint.name} has settled everything")
        again = endpoint.accepted - len(endpoint.first)
        report(f"{endpoint.name}: {len(endpoint.first)} events, {endpoint.accepted} accepted, "
               f"{endpoint.refused} refused, in_flight {endpoint.in_flight}")
        assert sorted(endpoint.first) == matching[endpoint.name]
        assert all(log[offset][0] == id for offset, id in endpoint.first.items())
        if endpoint.in_flight == 1:
            assert list(endpoint.first) == matching[endpoint.name], f"{endpoint.name}: not in order"
        for key, order in endpoint.in_order_of_key.items():
            assert order == sorted(order), f"{endpoint.name}: key {key} is not in order"
        if again > endpoint.in_flight * KILLS:
            faults.append(f"{endpoint.name}: {again} duplicates, in_flight {endpoint.in_flight}, {KILLS} kills")

    dice = random.Random(f"{SEED} receipts")
    began = time.monotonic()
    for offset in sorted(dice.sample(range(len(log)), min(SAMPLE, len(log)))):
        _, answer = await call(session, "GET", f"{broker.url}/v1/events/{offset}/receipts", expect=200)
        stands = {receipt["subscriber"]: receipt["state"] for receipt in answer["receipts"]}
        concerned = {name for name in matching if contains(matching[name], offset)}
        assert stands == dict.fromkeys(concerned, "acked"), f"the receipts of {offset}: {stands}"
    report(f"{SAMPLE} events' receipts in {time.monotonic() - began:.1f} s")
    assert not faults, "more came again than was open:\n" + "\n".join(faults)


def contains(ordered, offset):
    at = bisect.bisect_left(ordered, offset)
    return at < len(ordered) and ordered[at] == offset
