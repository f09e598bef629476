"""A connector's endpoint: a small HTTP server that refuses, breaks off and dawdles as the dice say.

Written on bare sockets so that it knows exactly what had reached it when the broker died: everything that a dead
broker sent lies before the end of its connections.
"""

import asyncio
import base64
import hashlib
import hmac
import json

SECRET = b"a secret of twenty-four b"


class Endpoint:
    """The server; tells an `EndpointOracle` what comes, and the log's oracle what it was shown."""

    def __init__(self, name, log, oracle, dice):
        self.name, self.log, self.oracle, self.dice = name, log, oracle, dice
        self.refuses, self.breaks = 0.08, 0.04
        self.connections = set()
        self.empty = asyncio.Event()
        self.server = self.url = None

    async def open(self):
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Connection(self), "127.0.0.1", 0, backlog=256)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/"

    async def close(self):
        self.server.close()
        for connection in list(self.connections):
            connection.transport.abort()
        await self.server.wait_closed()

    async def drained(self):
        """The broker is dead: waits until all that it sent was looked at, and its connections are gone."""
        # Connections are accepted in their order, so that all of the dead one are known when ours is answered.
        reader, writer = await asyncio.open_connection(*self.server.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.read()
        writer.close()
        while self.connections:
            self.empty.clear()
            await self.empty.wait()
        self.oracle.killed()

    def calm(self):
        """No more faults."""
        self.refuses = self.breaks = 0

    def received(self, connection, headers, body):
        event = json.loads(body)
        self.log.saw(event, body, f"endpoint {self.name}")
        signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
        signature = "v1," + base64.b64encode(hmac.digest(SECRET, signed, hashlib.sha256)).decode()
        if headers["webhook-signature"] != signature:
            self.log.faults.add("signature", f"{self.name}: that of {event['offset']} does not verify")
        self.oracle.requested(event["offset"], int(headers["stentor-attempt"]))
        if self.dice.random() < 0.3:
            asyncio.get_running_loop().call_later(self.dice.uniform(0, 0.02), self.answer, connection, event)
        else:
            self.answer(connection, event)

    def answer(self, connection, event):
        if connection not in self.connections or connection.transport.is_closing():
            return
        throw = self.dice.random()
        accepted = throw >= self.refuses + self.breaks
        self.oracle.answered(event["offset"], event.get("key"), accepted)
        if not accepted and throw < self.breaks:
            connection.transport.abort()
        else:
            status = b"200 OK" if accepted else b"500 Internal Server Error"
            connection.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")


class Connection(asyncio.Protocol):
    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.transport = None
        self.buffer = b""

    def connection_made(self, transport):
        self.transport = transport
        self.endpoint.connections.add(self)

    def connection_lost(self, _error):
        self.endpoint.connections.discard(self)
        if not self.endpoint.connections:
            self.endpoint.empty.set()

    def data_received(self, data):
        self.buffer += data
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        first, *lines = head.decode().split("\r\n")
        if first.startswith("GET"):
            self.transport.close()
            return
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers["content-length"])
        if len(rest) < length:
            return
        # One request at a time: HTTP/1.1 without pipelining.
        self.buffer = rest[length:]
        self.endpoint.received(self, headers, rest[:length])
