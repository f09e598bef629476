"""A request that a test holds back."""

import asyncio
import json


class UnderWay:
    """A request whose last bytes are held back."""

    def __init__(self, broker, method, path, body=b""):
        self.broker = broker
        lines = [f"{method} {path} HTTP/1.1", "host: stentor", "connection: close",
                 "content-type: application/json", f"content-length: {len(body)}"]
        whole = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        self.sent, self.rest = whole[:-2], whole[-2:]

    async def begin(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.broker.port)
        self.writer.write(self.sent)
        await self.writer.drain()
        return self

    async def finish(self):
        """Sends the rest; gives the status and the JSON that came back, or nothing where none came."""
        self.writer.write(self.rest)
        try:
            answer = await self.reader.read()
        except ConnectionError:
            answer = b""
        self.writer.close()
        if not answer:
            return None, None
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
        self.headers = {name.lower(): value for name, value in lines}
        return int(head.split()[1]), json.loads(body)
