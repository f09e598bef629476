"""A WebSocket client that misbehaves as it is told: it answers no ping, and talks on after a close."""

import asyncio
import base64
import contextlib
import json
import os
import struct
import urllib.parse

from talking import SOON, SUBPROTOCOL, address


class Bare:
    """A WebSocket client that does nothing by itself: no pong, no answer to a close (RFC 6455)."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, broker, **query):
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        target = urllib.parse.urlsplit(address(broker, **query))
        path = target.path + ("?" + target.query if target.query else "")
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {target.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
                     f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON)
        assert head.startswith(b"HTTP/1.1 101"), head
        return cls(reader, writer)

    async def send(self, opcode, payload=b""):
        """One masked frame."""
        mask = os.urandom(4)
        size = len(payload)
        if size < 126:
            length = bytes([0x80 | size])
        elif size < 1 << 16:
            length = bytes([0x80 | 126]) + struct.pack(">H", size)
        else:
            length = bytes([0x80 | 127]) + struct.pack(">Q", size)
        body = bytes(b ^ mask[n % 4] for n, b in enumerate(payload)) if size < 1 << 16 else \
            (int.from_bytes(payload, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")).to_bytes(size, "big")
        self.writer.write(bytes([0x80 | opcode]) + length + mask + body)
        await self.writer.drain()

    async def say(self, op, **members):
        await self.send(1, json.dumps({"op": op, **members}).encode())

    async def receive(self, within=SOON):
        """The next frame: opcode and payload; (None, b"") at the end of the stream."""
        async def read():
            try:
                first, second = await self.reader.readexactly(2)
                size = second & 0x7F
                if size == 126:
                    size, = struct.unpack(">H", await self.reader.readexactly(2))
                elif size == 127:
                    size, = struct.unpack(">Q", await self.reader.readexactly(8))
                return first & 0x0F, await self.reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None, b""
        return await asyncio.wait_for(read(), within)

    async def until(self, wanted, within=SOON):
        """Lets frames go until one of this opcode, or the end: its payload."""
        for _ in range(100_000):
            opcode, payload = await self.receive(within)
            if opcode in (wanted, None):
                return opcode, payload
        raise AssertionError("too many frames")

    async def close_code(self, within=SOON):
        """The code of the close frame; None where the stream just ends."""
        opcode, payload = await self.until(8, within)
        return struct.unpack(">H", payload[:2])[0] if opcode == 8 and payload else None

    def close(self):
        self.writer.close()


@contextlib.asynccontextmanager
async def bare(broker, **query):
    client = await Bare.open(broker, **query)
    try:
        yield client
    finally:
        client.close()
