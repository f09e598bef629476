"""PROTOCOL.md, section 4: what holds for every subscriber, whatever carries its events. The numbers are the contract's."""

import asyncio
import contextlib

import pytest

from asking import asking
from endpoint import endpoint
from harness import eventually
from sse import stream

RETRY = {"initial": "5ms", "max": "5ms"}


class Socket:
    """A WebSocket as a carrier."""

    @classmethod
    @contextlib.asynccontextmanager
    async def session(cls, ask, name):
        made = cls()
        async with ask.listening(subscriber=name) as made.listener:
            yield made

    async def take(self, count):
        return await self.listener.events(count)

    async def gap(self):
        while (frame := await self.listener.frame())["op"] != "gap":
            pass
        return {"from": frame["from"], "to": frame["to"]}


class Stream:
    """Server-sent events as a carrier."""

    @classmethod
    @contextlib.asynccontextmanager
    async def session(cls, ask, name):
        made = cls()
        async with stream(ask.session, ask.broker, subscriber=name) as made.stream:
            yield made

    async def take(self, count):
        return await self.stream.events(count)

    async def gap(self):
        return await self.stream.named("gap")


class Pull:
    """Pulls as a carrier."""

    @classmethod
    @contextlib.asynccontextmanager
    async def session(cls, ask, name):
        made = cls()
        made.ask, made.name = ask, name
        made.first = await ask.pull(name, max=1, takeover=True)
        made.waiting = made.first["events"]
        yield made

    async def take(self, count):
        while len(self.waiting) < count:
            self.waiting += (await self.ask.pull(self.name, max=3, wait="5s"))["events"]
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return taken

    async def gap(self):
        return self.first["gap"]


carriers = pytest.mark.parametrize("carrier", [Socket, Stream, Pull])


async def subscriber(ask, word, count=0, **settings):
    """One of a channel with so many events: the first offset."""
    first = await ask.end()
    await ask.put(word, **{"channels": [word], "from": first, "ack_timeout": "1h", **settings})
    if count:
        await ask.many(*[word] * count)
    return first


async def take(carrier, count):
    return [event["offset"] for event in await carrier.take(count)]


async def closed(listener):
    while not listener.socket.closed:
        await listener.socket.receive(timeout=10)
    return listener.socket.close_code


# 1


@carriers
async def test_1_events_come_in_offset_order_and_every_matching_one_from_the_cursor_on_is_delivered(ask, word, carrier):
    first = await subscriber(ask, word)
    await ask.many(*[word, "other"] * 10)
    async with carrier.session(ask, word) as session:
        assert await take(session, 10) == [*range(first, first + 20, 2)]
        await ask.many(*["other", word] * 10)
        assert await take(session, 10) == [*range(first + 21, first + 41, 2)]


async def test_1_to_a_connector_too(ask, word):
    async with endpoint() as called:
        await ask.put(word, kind="connector", url=called.url, channels=[word])
        first = (await ask.many(*[word, "other"] * 10))["first_offset"]
        await eventually(lambda: len(called.accepted) == 10, what="all are delivered")
        assert called.accepted == [*range(first, first + 20, 2)]
        await ask("DELETE", f"/v1/connectors/{word}", 204)


# 2


async def test_2_the_cursor_moves_on_an_ack(ask, word):
    first = await subscriber(ask, word, 2)
    await ask.pull(word)
    assert (await ask.subscriber(word))["cursor"] == first, "delivered is not done"
    assert await ask.ack(word, offset=first) == first + 1 == (await ask.subscriber(word))["cursor"]


async def test_2_the_cursor_moves_on_a_reject(ask, word):
    first = await subscriber(ask, word, 2)
    async with ask.listening(subscriber=word) as listener:
        await listener.events(2)
        await listener.socket.send_json({"op": "reject", "offset": first})

        async def moved():
            return (await ask.subscriber(word))["cursor"] == first + 1
        await eventually(moved, what="the cursor passes what was rejected")


async def test_2_the_cursor_moves_on_a_dead_letter(ask, word):
    async with endpoint(lambda event: 500) as called:
        settings = {"url": called.url, "channels": [word], "retry": {**RETRY, "give_up_after": 2}}
        await ask.put(word, kind="connector", **settings)
        first = (await ask.publish(word))["offset"]

        async def moved():
            return (await ask.get(f"/v1/connectors/{word}"))["cursor"] == first + 1
        await eventually(moved, what="the cursor passes what was given up")
        assert called.attempts == [first, first]
        await ask("DELETE", f"/v1/connectors/{word}", 204)


async def test_2_the_cursor_moves_on_a_seek(ask, word):
    first = await subscriber(ask, word, 3)
    await ask.post(f"/v1/subscribers/{word}/seek", {"to": first + 2})
    assert (await ask.subscriber(word))["cursor"] == first + 2


async def test_2_the_cursor_moves_past_what_retention_removed(old):
    shown = await old.subscriber("late-0")
    assert (shown["cursor"], shown["lag"]) == (3, 1)


async def test_2_events_that_do_not_match_count_as_done(ask, word):
    first = await subscriber(ask, word)
    await ask.many("other", "other", word, "other")
    assert (await ask.subscriber(word))["cursor"] == first + 2
    await ask.pull(word)
    assert await ask.ack(word, offset=first + 2) == first + 4


async def test_2_an_ack_may_name_any_offset_up_to_the_highest_delivered(ask, word):
    first = await subscriber(ask, word)
    await ask.many(word, "other", word, word)
    await ask.pull(word)
    assert await ask.ack(word, offset=first + 1) == first + 2, "this one does not match"
    assert await ask.ack(word, offset=first + 3) == first + 4


async def test_2_or_told_as_a_gap(old):
    async with old.listening(subscriber="late-1") as listener:
        assert await listener.frame() == {"op": "gap", "from": 0, "to": 3}
        assert await listener.ack(2) == 3


async def test_2_an_ack_below_the_cursor_changes_nothing(ask, word):
    first = await subscriber(ask, word, 3)
    await ask.pull(word)
    await ask.ack(word, offset=first + 1)
    before = await ask.subscriber(word)
    assert await ask.ack(word, offset=first) == first + 2
    assert await ask.ack(word, offsets=[first]) == first + 2
    assert await ask.subscriber(word) == before


async def test_2_an_ack_beyond_what_was_delivered_is_409_or_an_error_frame(ask, word):
    first = await subscriber(ask, word, 3, window=2)
    async with ask.listening(subscriber=word) as listener:
        await listener.events(2)
        for said in ({"offset": first + 2}, {"offsets": [first, first + 2]}):
            await listener.socket.send_json({"op": "ack", **said})
            frame = await listener.frame()
            assert (frame["op"], frame["code"]) == ("error", "ack-beyond-delivered")
            await ask.refused("POST", f"/v1/subscribers/{word}/ack", 409, "ack-beyond-delivered", json=said)
        assert (await ask.subscriber(word))["cursor"] == first


async def test_2_an_ack_from_a_session_that_was_taken_over_is_refused(ask, word):
    first = await subscriber(ask, word, 1)
    session = (await ask.pull(word))["session"]
    async with ask.listening(subscriber=word) as listener:
        await listener.event()
        await ask.refused("POST", f"/v1/subscribers/{word}/ack", 409, "session-over", json={"offset": first, "session": session})
        assert (await ask.subscriber(word))["cursor"] == first


# 3


async def test_3_when_the_oldest_open_event_was_open_for_ack_timeout_everything_open_comes_again_in_order(ask, word):
    first = await subscriber(ask, word, 4, ack_timeout="2s")
    async with ask.listening(subscriber=word) as listener:
        began = asyncio.get_running_loop().time()
        await listener.events(4)
        await ask.ack(word, offsets=[first + 2])
        again = await listener.events(3)
        assert [(event["offset"], event["attempt"]) for event in again] == [(first, 2), (first + 1, 2), (first + 3, 2)]
        assert 1.9 <= asyncio.get_running_loop().time() - began < 10


async def test_3_over_pulls_too(ask, word):
    first = await subscriber(ask, word, 2, ack_timeout="500ms")
    assert await ask.pulled(word) == [first, first + 1]
    again = (await ask.pull(word, wait="10s"))["events"]
    assert [(event["offset"], event["attempt"]) for event in again] == [(first, 2), (first + 1, 2)]


async def test_3_after_a_nack_everything_open_from_there_on_comes_again_in_order(ask, word):
    first = await subscriber(ask, word, 4)
    async with ask.listening(subscriber=word) as listener:
        await listener.events(4)
        await listener.socket.send_json({"op": "nack", "offset": first + 1})
        again = await listener.events(3)
        assert [(event["offset"], event["attempt"]) for event in again] == [(first + n, 2) for n in (1, 2, 3)]


@carriers
async def test_3_when_a_session_ends_the_next_one_begins_at_the_cursor(ask, word, carrier):
    first = await subscriber(ask, word, 3)
    async with carrier.session(ask, word) as session:
        await take(session, 3)
        await ask.ack(word, offset=first)
    async with carrier.session(ask, word) as session:
        assert await take(session, 2) == [first + 1, first + 2]


@pytest.mark.parametrize("carrier", [Socket, Pull])
async def test_3_attempt_counts_the_sends_of_an_event_since_the_last_seek(ask, word, carrier):
    first = await subscriber(ask, word, 1)
    for attempt in (None, 2, 3):
        async with carrier.session(ask, word) as session:
            assert (await session.take(1))[0].get("attempt") == attempt
    await ask.post(f"/v1/subscribers/{word}/seek", {"to": first})
    async with carrier.session(ask, word) as session:
        assert "attempt" not in (await session.take(1))[0]


# 4


async def test_4_at_most_window_events_are_open_then_delivery_waits(ask, word):
    first = await subscriber(ask, word, 4, window=2)
    async with ask.listening(subscriber=word) as listener:
        assert [event["offset"] for event in await listener.events(2)] == [first, first + 1]
        await listener.socket.send_json({"op": "ping"})
        assert await listener.frame() == {"op": "pong"}, "nothing came in between"
        assert (await ask.subscriber(word))["open"] == 2
        assert await listener.ack(first) == first + 1
        assert (await listener.event())["offset"] == first + 2


async def test_4_on_a_stream_of_server_sent_events_it_ends_with_the_window_full(ask, word):
    first = await subscriber(ask, word, 4, window=2)
    async with stream(ask.session, ask.broker, subscriber=word) as events:
        assert [event["offset"] for event in await events.events()] == [first, first + 1]
        assert (events.retry, events.last) == (100, str(first + 1))


async def test_4_over_pulls_too(ask, word):
    first = await subscriber(ask, word, 4, window=2)
    assert (await ask.pulled(word), await ask.pulled(word)) == ([first, first + 1], [])
    assert (await ask.subscriber(word))["open"] == 2


async def test_4_a_slow_listener_loses_no_event(ask, word):
    first = await subscriber(ask, word, window=1)
    async with ask.listening(subscriber=word) as listener:
        await ask.many(*[word] * 1_000)
        for offset in range(first, first + 20):
            assert (await listener.event())["offset"] == offset
            await listener.ack(offset)
    assert (await ask.subscriber(word))["lag"] == 980


# 5


async def test_5_a_newer_websocket_takes_over_and_the_older_is_told_and_closed(ask, word):
    first = await subscriber(ask, word, 1)
    async with ask.listening(subscriber=word) as older:
        await older.event()
        async with ask.listening(subscriber=word) as newer:
            assert (await newer.event())["offset"] == first
            assert await closed(older) == 4509


async def test_5_a_newer_stream_takes_over_and_the_older_is_told_and_ended(ask, word):
    first = await subscriber(ask, word, 1)
    async with stream(ask.session, ask.broker, subscriber=word) as older:
        await older.events(1)
        async with stream(ask.session, ask.broker, subscriber=word) as newer:
            assert [event["offset"] for event in await newer.events(1)] == [first]
            await older.named("taken_over")
            assert await older.block() is None and older.retry == 30_000


async def test_5_a_stream_takes_over_from_a_websocket_and_a_websocket_from_a_stream(ask, word):
    first = await subscriber(ask, word, 1)
    async with ask.listening(subscriber=word) as socket, stream(ask.session, ask.broker, subscriber=word) as events:
        assert await closed(socket) == 4509
        assert [event["offset"] for event in await events.events(1)] == [first]
        async with ask.listening(subscriber=word) as newest:
            await events.named("taken_over")
            assert (await newest.event())["offset"] == first


async def test_5_late_acks_of_the_older_are_refused(ask, word):
    first = await subscriber(ask, word, 1)
    async with ask.listening(subscriber=word) as older:
        await older.event()
        async with ask.listening(subscriber=word) as newer:
            await newer.event()
            # Nobody has read the close yet, so that the frame leaves.
            await older.socket.send_json({"op": "ack", "offset": first})
            assert await closed(older) == 4509
            assert (await ask.subscriber(word))["cursor"] == first
            assert await newer.ack(first) == first + 1


# 6


@pytest.mark.parametrize("carrier, name", [(Socket, "late-2"), (Stream, "late-3"), (Pull, "late-4")])
async def test_6_where_retention_took_matching_events_it_is_told_a_gap(old, carrier, name):
    async with carrier.session(old, name) as session:
        assert await session.gap() == {"from": 0, "to": 3}
        assert await take(session, 1) == [3]


@pytest.mark.parametrize("carrier, name", [(Socket, "late-5"), (Stream, "late-6"), (Pull, "late-7")])
async def test_6_it_is_told_in_every_session_until_an_ack_of_its_last_offset_or_beyond(old, carrier, name):
    async with carrier.session(old, name) as session:
        assert await session.gap() == {"from": 0, "to": 3}
    async with carrier.session(old, name) as session:
        assert await session.gap() == {"from": 0, "to": 3}
        await old.ack(name, offset=2)
    async with old.listening(subscriber=name) as listener:
        assert (await listener.frame())["op"] == "event"


async def test_6_who_had_acknowledged_everything_is_told_no_gap(old):
    await old.put("new", channels=["old"])
    async with old.listening(subscriber="new") as listener:
        assert await listener.frame() == {"op": "caught_up", "end": 4}


# 7


async def test_7_new_patterns_hold_from_the_cursor_on(ask, word):
    first = (await ask.many(*[f"{word}.a", f"{word}.b"] * 3))["first_offset"]
    await ask.put(word, channels=[f"{word}.a"], **{"from": first})
    await ask.pull(word, max=1)
    await ask.ack(word, offset=first)
    assert (await ask.subscriber(word))["cursor"] == first + 2
    shown = await ask.put(word, 200, channels=[f"{word}.b"])
    assert (shown["cursor"], shown["lag"]) == (first + 3, 2), "what did not match before the cursor is done"
    assert await ask.pulled(word) == [first + 3, first + 5]


async def test_7_open_events_that_no_longer_match_are_skipped_with_a_receipt(ask, word):
    first = (await ask.many(f"{word}.a", f"{word}.b", f"{word}.a"))["first_offset"]
    await ask.put(word, channels=[f"{word}.*"], **{"from": first})
    await ask.pull(word, max=2)
    await ask.put(word, 200, channels=[f"{word}.b"])

    async def skipped():
        return [(each["from"], each["to"]) for each in await ask.receipts(subscriber=word) if each["outcome"] == "skipped"]
    assert await eventually(skipped, what="the receipt") == [(first, first + 1)]
    states = (await ask.get(f"/v1/events/{first}/receipts"))["receipts"]
    assert [each["state"] for each in states if each["subscriber"] == word] == ["skipped"]
    shown = await ask.subscriber(word)
    assert (shown["cursor"], shown["lag"]) == (first + 1, 1)
