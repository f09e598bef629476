"""Publishers and listeners: what they do in one life of the broker, and what they carry over into the next.

Each tells the oracles what it was answered and shown. None waits for the broker to die: a broken connection is how it
learns of that, and everything that had been answered by then is taken into account.
"""

import asyncio
import contextlib
import itertools
import json

import aiohttp

from log_oracle import Planned

CHANNELS = ["key.activated", "key.revoked", "policy.approved", "user.changed", "user.deleted"]
BROKEN = (aiohttp.ClientError, ConnectionError, TimeoutError)


class Publisher:
    """Publishes one event or a batch after the other; what was not answered is published again with the same ids."""

    def __init__(self, name, log, dice, most):
        self.name, self.log, self.dice, self.most = name, log, dice, most
        self.numbers = itertools.count()
        self.acknowledged = 0
        # What was sent and not answered.
        self.pending = []
        self.tried = False

    def _event(self, named):
        tag = f"{self.name}-{next(self.numbers)}"
        size = self.dice.choice((20, 60, 200, 200, 400, 1500))
        # Spaces that a JSON encoder would not make: payloads come back byte for byte.
        data = f'{{"tag": "{tag}" ,"pad":"{self.dice.choice("abcdefgh") * self.dice.randrange(size)}"}}'.encode()
        key = self.dice.choice((None, "k0", "k1", "k2", "k3"))
        event = Planned(tag, self.dice.choice(CHANNELS), key, tag if named else None, data)
        self.log.plan(event)
        return event

    def _next(self):
        if self.most == 1:
            # One in ten without an id: not to be repeated, and there once at most.
            return [self._event(self.dice.random() > 0.1)]
        return [self._event(True) for _ in range(self.dice.randint(2, self.most))]

    async def run(self, session, url, *, finish=False):
        """Publishes until the broker is gone; with `finish` only what is pending."""
        while self.pending or not finish:
            if not self.pending:
                self.pending, self.tried = self._next(), False
            again, self.tried = self.tried, True
            try:
                offsets, duplicates = await self._send(session, url)
            except BROKEN:
                if self.pending[0].id is None:
                    self.pending = []
                return
            if offsets is None:
                continue
            if duplicates not in ((0, len(self.pending)) if again else (0,)):
                self.log.faults.add("torn", f"{duplicates} duplicates, again={again}: {self.pending}")
            for event, offset in zip(self.pending, offsets, strict=True):
                self.log.acknowledged(event.tag, offset)
            self.acknowledged += len(self.pending)
            self.pending = []
            if self.dice.random() < 0.3:
                await asyncio.sleep(self.dice.uniform(0, 0.01))

    async def _send(self, session, url):
        """Sends what is pending; gives its offsets and how many were duplicates, no offsets for a refusal."""
        if self.most == 1:
            event, = self.pending
            headers = {"content-type": "application/json"}
            headers |= {"idempotency-key": event.id} if event.id else {}
            headers |= {"stentor-key": event.key} if event.key else {}
            request = session.post(f"{url}/v1/events/{event.channel}", data=event.data, headers=headers)
        else:
            lines = [b'{"channel":"%s","id":"%s",%s"data":%s}\n' % (
                event.channel.encode(), event.id.encode(),
                b'"key":"%s",' % event.key.encode() if event.key else b"", event.data) for event in self.pending]
            request = session.post(f"{url}/v1/events", data=b"".join(lines),
                                   headers={"content-type": "application/x-ndjson"})
        async with request as answer:
            text = await answer.text()
        if answer.status not in (200, 201):
            self.log.faults.add("refused", f"a publish was answered {answer.status}: {text}")
            return None, 0
        told = json.loads(text)
        if self.most == 1:
            return [told["offset"]], int(told.get("duplicate", False))
        return told.get("offsets") or range(told["first_offset"], told["last_offset"] + 1), told["duplicates"]


class Listener:
    """A durable subscriber over WebSocket: acknowledges now and then, leaves, comes back, and is moved."""

    def __init__(self, log, oracle, dice, batch):
        self.log, self.oracle, self.dice, self.batch = log, oracle, dice, batch
        # Where it shall be moved; repeated until it is answered, so that it is known to have happened.
        self.seek_to = None
        self.calm = False

    @property
    def name(self):
        return self.oracle.name

    async def run(self, session, url):
        with contextlib.suppress(*BROKEN):
            while True:
                if self.seek_to is not None:
                    await self._seek(session, url)
                await self._session(session, url)

    async def _seek(self, session, url):
        async with session.post(f"{url}/v1/subscribers/{self.name}/seek", json={"to": self.seek_to}) as answer:
            told = json.loads(await answer.text())
            if answer.status != 200:
                self.log.faults.add("refused", f"{self.name}: a seek to {self.seek_to} was answered {told}")
                self.seek_to = None
                return
        self.seek_to = None
        self.oracle.sought(told["cursor"])

    async def _session(self, session, url):
        query = {"subscriber": self.name} | ({"batch": str(self.batch)} if self.batch else {})
        leaves_after = self.dice.randrange(1, 400)
        acks_after = self.dice.randint(1, self.oracle.window)
        came = 0
        async with session.ws_connect(url.replace("http", "ws") + "/v1/ws", params=query, compress=0, max_msg_size=0,
                                      timeout=aiohttp.ClientWSTimeout(ws_close=1)) as socket:
            self.oracle.began()
            while True:
                message = await socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    if socket.close_code not in (None, 1000, 1006):
                        self.log.faults.add("refused", f"{self.name} was closed with {socket.close_code}")
                    return
                frame = json.loads(message.data)
                match frame["op"]:
                    case "subscribed" | "acked":
                        self.oracle.cursor(frame["cursor"])
                        continue
                    case "caught_up":
                        continue
                    case "gap":
                        self.oracle.gap(frame["from"], frame["to"])
                        continue
                    case "event" | "events":
                        events = frame.get("events", (frame,))
                    case _:
                        self.log.faults.add("refused", f"{self.name} was told {frame}")
                        return
                raw = message.data.encode()
                for event in events:
                    self.log.saw(event, raw, f"listener {self.name}")
                    self.oracle.event(event["offset"])
                came += len(events)
                if self.calm:
                    await self._ack(socket, confirm=True)
                elif came >= leaves_after:
                    return self._plan_seek()
                elif len(self.oracle.open) >= acks_after:
                    await self._ack(socket, confirm=self.dice.random() < 0.3)
                    acks_after = self.dice.randint(1, self.oracle.window)

    async def _ack(self, socket, *, confirm):
        """Acknowledges what came, at times but for the newest."""
        offset = self.oracle.last
        if not self.calm and len(self.oracle.open) > 1 and self.dice.random() < 0.3:
            offset = self.oracle.open[-2]
        self.oracle.says(offset)
        word = ',"confirm":true' if confirm else ""
        await socket.send_str(f'{{"op":"ack","offset":{offset}{word}}}')

    def _plan_seek(self):
        if self.dice.random() < 0.25:
            end = self.log.highest + 1
            back = max(self.log.start, end - self.dice.randrange(1, 200))
            self.seek_to = self.dice.choice((back, back, "latest", end))
