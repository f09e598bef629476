"""Asks a broker that has come back what it holds, and has the oracles compare."""

import json

import aiohttp

from log_oracle import parsed

# Offsets of the older stretch that each reading looks at again.
OLDER = 100


class Reading:
    """All that is asked of one data directory's brokers."""

    def __init__(self, log, publishers, listeners, endpoints, dice):
        self.log, self.publishers, self.listeners, self.endpoints = log, publishers, listeners, endpoints
        self.dice = dice
        self.receipts = 0

    async def all(self, session, url, *, whole=False):
        """Reads what is new and an older stretch, or everything, and settles with everybody."""
        for listener in self.listeners:
            listener.oracle.mark()
        for endpoint in self.endpoints:
            told = await get(session, f"{url}/v1/connectors/{endpoint.name}")
            endpoint.oracle.cursor(told["cursor"])
        # Batches that are unanswered now; their publishers may have repeated them meanwhile, which changes nothing.
        batches = [[event.tag for event in publisher.pending] for publisher in self.publishers]
        highest = self.log.highest
        told = await get(session, f"{url}/v1/events?from=0&limit=1")
        self.log.begins(told["gap"]["to"] if "gap" in told else 0)
        end = told["end"]
        self.log.ends(end, highest)
        await self._stretch(session, url, 0 if whole else self.log.read_to, end)
        if not whole and self.log.read_to > self.log.start:
            older = self.dice.randrange(self.log.start, self.log.read_to)
            await self._stretch(session, url, older, min(older + OLDER, self.log.read_to))
        for batch in batches:
            self.log.whole(batch, end)
        for who in (*self.listeners, *self.endpoints):
            who.oracle.settle(self.log)
        for _ in range(50 if whole else 2):
            await self._receipts(session, url)

    async def _stretch(self, session, url, from_, to):
        from_ = max(from_, self.log.start)
        if from_ >= to:
            return
        async with session.get(f"{url}/v1/export?from={from_}&to={to}") as answer:
            body = await answer.read()
        if answer.status != 200:
            self.log.faults.add("refused", f"a reading of {from_} to {to} was answered {answer.status}: {body!r}")
            return
        events = []
        *lines, last = [parsed(line) for line in body.splitlines()]
        for line, raw in lines:
            if "gap" not in line:
                events.append((line, raw))
            elif line["gap"]["from"] == from_ and not events:
                # Retention was faster than this reading.
                self.log.begins(line["gap"]["to"])
            else:
                self.log.faults.add("lost", f"the log has a hole: {line}")
        if "checkpoint" not in last[0]:
            self.log.faults.add("lost", f"the reading of {from_} to {to} is not whole: {last[0]}")
        self.log.read(from_, to, events)

    async def _receipts(self, session, url):
        """Whoever is durably past an event has a receipt for it."""
        settled = [(listener.oracle, max(listener.oracle.from_, self.log.start), listener.oracle.durable)
                   for listener in self.listeners if listener.seek_to is None]
        settled += [(endpoint.oracle, self.log.start, endpoint.oracle.cursor_shown) for endpoint in self.endpoints]
        oracle, from_, to = self.dice.choice(settled)
        seen = [offset for offset in range(from_, min(to, self.log.read_to)) if oracle.wants(offset)]
        if not seen:
            return
        offset = self.dice.choice(seen)
        era = oracle.era
        async with session.get(f"{url}/v1/events/{offset}/receipts") as answer:
            told = json.loads(await answer.text())
        # 410: retention was faster; 503: the view is being made again.
        if answer.status in (410, 503) or era != oracle.era:
            return
        states = {receipt["subscriber"]: receipt["state"] for receipt in told.get("receipts", ())}
        self.receipts += 1
        if states.get(oracle.name) != "acked":
            self.log.faults.add("receipts", f"{oracle.name} is past {offset}: {answer.status} {told}")


async def get(session, url):
    async with session.get(url) as answer:
        text = await answer.text()
        if answer.status != 200:
            raise aiohttp.ClientError(f"{url}: {answer.status} {text}")
        return json.loads(text)
