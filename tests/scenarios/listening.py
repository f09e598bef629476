"""A WebSocket listener as an application would write it, without an SDK."""

import asyncio
import contextlib
import json

import aiohttp


class Listener:
    """One connection. Frames that are not waited for are kept, so that nothing that was told is overlooked."""

    def __init__(self, socket, subscribed):
        self.socket = socket
        self.subscribed = subscribed
        self.others = []
        self._waiting = []

    async def frame(self, within=30):
        """The next frame."""
        message = await self.socket.receive(timeout=within)
        assert message.type is aiohttp.WSMsgType.TEXT, f"the broker closed: {message!r}, {self.socket.close_code}"
        return json.loads(message.data)

    async def event(self, within=30):
        """The next event; whatever else comes before it is kept in `others`."""
        while not self._waiting:
            frame = await self.frame(within)
            match frame["op"]:
                case "event":
                    self._waiting.append(frame)
                case "events":
                    self._waiting.extend(frame["events"])
                case "error":
                    raise AssertionError(f"the broker refused: {frame}")
                case _:
                    self.others.append(frame)
        return self._waiting.pop(0)

    async def events(self, count, within=30):
        async with asyncio.timeout(within):
            return [await self.event(within) for _ in range(count)]

    async def ack(self, offset, *, confirm=True):
        """Acknowledges everything up to `offset`; with `confirm` gives the durable cursor."""
        frame = {"op": "ack", "offset": offset}
        if not confirm:
            return await self.socket.send_str(json.dumps(frame))
        await self.socket.send_str(json.dumps({**frame, "confirm": True}))
        async with asyncio.timeout(30):
            while True:
                answer = await self.frame()
                if answer["op"] == "acked":
                    return answer["cursor"]
                assert answer["op"] != "error", f"the ack was refused: {answer}"
                if answer["op"] == "event":
                    self._waiting.append(answer)
                elif answer["op"] == "events":
                    self._waiting.extend(answer["events"])
                else:
                    self.others.append(answer)


@contextlib.asynccontextmanager
async def listening(session, broker, **query):
    """Connects, and gives the listener once the broker has said `subscribed`."""
    async with session.ws_connect(broker.ws, params=query, protocols=["stentor.v1.json"], max_msg_size=0,
                                  compress=0) as socket:
        first = json.loads((await socket.receive(timeout=30)).data)
        assert first["op"] == "subscribed", f"the first frame is {first}"
        yield Listener(socket, first)
