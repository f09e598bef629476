"""A WebSocket client that is hardly more than its socket: ten thousand of them leave the machine to the broker."""

import asyncio
import json
import socket
import struct

HANDSHAKE = ("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class RawSocket:
    """One connection. Nothing is read unless somebody asks."""

    def __init__(self, port, path, number=0, receive_buffer=None):
        self.port, self.path = port, path
        self.socket = socket.socket()
        self.socket.setblocking(False)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        # Each address has some 28,000 ports to connect from.
        self.socket.bind((f"127.0.0.{2 + number % 8}", 0))
        self.buffer = b""

    async def open(self):
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, ("127.0.0.1", self.port))
        await loop.sock_sendall(self.socket, HANDSHAKE.format(path=self.path).encode())
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += await self._more(1024)
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        assert b" 101 " in head.splitlines()[0], head
        return self

    async def _more(self, most):
        data = await asyncio.get_running_loop().sock_recv(self.socket, most)
        if not data:
            raise ConnectionResetError("the broker closed")
        return data

    async def _need(self, count):
        while len(self.buffer) < count:
            self.buffer += await self._more(65_536)

    async def frame(self):
        """The next text frame's object; pings are answered."""
        while True:
            await self._need(2)
            kind, length, start = self.buffer[0] & 15, self.buffer[1] & 127, 2
            if length > 125:
                start = 4 if length == 126 else 10
                await self._need(start)
                length = int.from_bytes(self.buffer[2:start], "big")
            await self._need(start + length)
            body, self.buffer = self.buffer[start:start + length], self.buffer[start + length:]
            if kind == TEXT:
                return json.loads(body)
            if kind == CLOSE:
                raise ConnectionResetError(f"the broker closed: {body!r}")
            if kind == PING:
                await self._send(PONG, body)

    async def send(self, frame):
        await self._send(TEXT, json.dumps(frame).encode())

    async def _send(self, kind, body):
        """A frame of less than 64 KiB, under a mask of zeros."""
        length = struct.pack(">B", 128 | len(body)) if len(body) < 126 else struct.pack(">BH", 128 | 126, len(body))
        whole = bytes([128 | kind]) + length + bytes(4) + body
        await asyncio.get_running_loop().sock_sendall(self.socket, whole)

    def close(self):
        self.socket.close()
