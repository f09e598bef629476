"""Server-sent events as a client reads them: blocks of lines, each a set of fields (WHATWG HTML, section 9.2)."""

import asyncio
import contextlib
import json


class Block(dict):
    """One block. A field that stands in it has its value; `comment` is what followed a bare colon."""

    @property
    def event(self):
        """The event that the block carries, or the data of a named one."""
        return json.loads(self["data"])


def parse(text):
    block = Block()
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        block[name or "comment"] = value.removeprefix(" ")
    return block


class Stream:
    """An open stream. `last` is what a browser would send as Last-Event-ID when it comes back."""

    def __init__(self, answer):
        self.answer = answer
        self.text = ""
        self.last = None
        self.retry = None

    async def block(self, within=10):
        """The next block; None at the end of the stream."""
        async with asyncio.timeout(within):
            while "\n\n" not in self.text:
                chunk = await self.answer.content.readany()
                if not chunk:
                    assert self.text == "", f"the stream ends within a block: {self.text!r}"
                    return None
                self.text += chunk.decode()
        first, self.text = self.text.split("\n\n", 1)
        block = parse(first)
        self.last = block.get("id", self.last)
        self.retry = int(block["retry"]) if "retry" in block else self.retry
        return block

    async def events(self, count=None, within=10):
        """So many events, or all up to the end; blocks without data, and named ones, are passed over."""
        found = []
        while count is None or len(found) < count:
            block = await self.block(within)
            if block is None:
                assert count is None, f"the stream ended after {found}"
                break
            if "data" in block and "event" not in block:
                found.append(block.event)
        return found

    async def named(self, name, within=10):
        """The data of the next block with that name."""
        while (block := await self.block(within)) is not None:
            if block.get("event") == name:
                return block.event
        raise AssertionError(f"the stream ended without {name}")


@contextlib.asynccontextmanager
async def stream(session, broker, *, path="/v1/sse", last=None, headers=None, **query):
    headers = {**(headers or {}), **({"last-event-id": str(last)} if last is not None else {})}
    async with session.get(broker.url + path, params=query, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["content-type"] == "text/event-stream"
        yield Stream(answer)
