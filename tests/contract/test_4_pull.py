"""PROTOCOL.md, section 4: pull and ack over HTTP."""

import asyncio
import time

import pytest

from asking import asking
from faults import Fault
from harness import call, eventually
from sse import stream

FIRST_SEGMENT = "00000000000000000000.seg"


async def worker(ask, word, count=0, **settings):
    """A subscriber of a channel with so many events: the first offset."""
    first = await ask.end()
    await ask.put(word, **{"channels": [word], "from": first, **settings})
    if count:
        await ask.many(*[word] * count)
    return first


async def over(ask, word, session, verb="pull", **said):
    await ask.refused("POST", f"/v1/subscribers/{word}/{verb}", 409, "session-over", json={"session": session, **said})


# Pull


async def test_a_pull_answers_session_events_and_cursor(ask, word):
    first = await worker(ask, word, 2)
    pulled = await ask.pull(word)
    assert set(pulled) == {"session", "events", "cursor"}
    assert isinstance(pulled["session"], str) and pulled["session"]
    assert (pulled["events"], pulled["cursor"]) == ([await ask.event(first), await ask.event(first + 1)], first)


async def test_the_defaults_are_max_100_and_no_wait(ask, word):
    first = await worker(ask, word, 101)
    assert await ask.pulled(word) == [*range(first, first + 100)]
    assert await ask.pulled(word) == [first + 100]
    began = time.monotonic()
    assert await ask.pulled(word) == [] and time.monotonic() - began < 2


async def test_the_first_pull_opens_a_session_and_each_gives_the_next_events_not_those_open(ask, word):
    first = await worker(ask, word, 5)
    assert not (await ask.subscriber(word))["connected"]
    pulled = await ask.pull(word, max=2)
    session = pulled["session"]
    assert [event["offset"] for event in pulled["events"]] == [first, first + 1]
    assert (await ask.subscriber(word))["connected"]
    second = await ask.pull(word, max=2, session=session)
    assert second["session"] == session
    assert [event["offset"] for event in second["events"]] == [first + 2, first + 3]
    assert await ask.pulled(word, session=session) == [first + 4]
    assert await ask.pulled(word, session=session) == []


async def test_without_a_session_a_pull_goes_on_with_the_pull_session_that_lives(ask, word):
    first = await worker(ask, word, 2)
    session = (await ask.pull(word, max=1))["session"]
    second = await ask.pull(word, max=1)
    assert ([event["offset"] for event in second["events"]], second["session"]) == ([first + 1], session)


async def test_without_a_body_every_default_holds(ask, word):
    first = await worker(ask, word, 1)
    assert [event["offset"] for event in (await ask("POST", f"/v1/subscribers/{word}/pull"))["events"]] == [first]


async def test_a_pull_waits_for_the_next_event(ask, word):
    first = await worker(ask, word)
    waiting = asyncio.create_task(ask.pulled(word, wait="30s"))

    async def connected():
        return (await ask.subscriber(word))["connected"]
    await eventually(connected, what="the pull has its session")
    await ask.many("other", word)
    assert await asyncio.wait_for(waiting, 5) == [first + 1]


async def test_a_wait_that_is_over_answers_empty(ask, word):
    first = await worker(ask, word)
    began = time.monotonic()
    pulled = await ask.pull(word, wait="400ms")
    assert (pulled["events"], pulled["cursor"]) == ([], first) and 0.4 <= time.monotonic() - began < 5


async def test_with_the_window_full_it_waits_then_answers_empty(ask, word):
    first = await worker(ask, word, 3, window=2)
    assert await ask.pulled(word) == [first, first + 1]
    began = time.monotonic()
    assert await ask.pulled(word, wait="300ms") == [] and time.monotonic() - began >= 0.3
    waiting = asyncio.create_task(ask.pulled(word, wait="30s"))
    await asyncio.wait([waiting], timeout=0.1)
    await ask.ack(word, offset=first)
    assert await asyncio.wait_for(waiting, 5) == [first + 2]


async def test_a_pull_beside_a_live_websocket_is_409_unless_it_takes_over(ask, word):
    first = await worker(ask, word, 1)
    async with ask.listening(subscriber=word) as listener:
        await ask.refused("POST", f"/v1/subscribers/{word}/pull", 409, "stream-live", json={})
        assert await ask.pulled(word, takeover=True) == [first]
        while not listener.socket.closed:
            await listener.socket.receive(timeout=10)
        assert listener.socket.close_code == 4509


async def test_a_pull_beside_a_live_stream_is_409_unless_it_takes_over(ask, word):
    first = await worker(ask, word, 1)
    async with stream(ask.session, ask.broker, subscriber=word) as events:
        await events.events(1)
        await ask.refused("POST", f"/v1/subscribers/{word}/pull", 409, "stream-live", json={})
        assert await ask.pulled(word, takeover=True) == [first]
        await events.named("taken_over")


async def test_a_session_that_was_taken_over_by_a_pull_gets_409(ask, word):
    first = await worker(ask, word, 1)
    older = (await ask.pull(word))["session"]
    newer = await ask.pull(word, takeover=True)
    assert newer["session"] != older and [event["offset"] for event in newer["events"]] == [first]
    await over(ask, word, older)
    await over(ask, word, older, "ack", offset=first)
    assert (await ask.subscriber(word))["cursor"] == first


async def test_a_session_that_was_taken_over_by_a_stream_gets_409(ask, word):
    first = await worker(ask, word, 1)
    session = (await ask.pull(word))["session"]
    async with ask.listening(subscriber=word):
        await over(ask, word, session)
        await over(ask, word, session, "ack", offset=first)


async def test_a_pull_session_that_was_quiet_for_ack_timeout_ends(ask, word):
    first = await worker(ask, word, 1, ack_timeout="1s")
    session = (await ask.pull(word))["session"]

    async def ended():
        return not (await ask.subscriber(word))["connected"]
    await eventually(ended, what="the session ends")
    await over(ask, word, session, "ack", offset=first)
    again = await ask.pull(word)
    assert again["session"] != session and [event["offset"] for event in again["events"]] == [first]


async def test_a_pull_that_waits_keeps_its_session_however_short_ack_timeout_is(ask, word):
    await worker(ask, word, ack_timeout="500ms")
    session = (await ask.pull(word, wait="1200ms"))["session"]
    assert (await ask.pull(word, session=session))["session"] == session


# Ack


async def test_an_ack_of_an_offset_is_of_everything_up_to_it_and_tells_the_cursor(ask, word):
    first = await worker(ask, word, 3)
    session = (await ask.pull(word))["session"]
    assert await ask.post(f"/v1/subscribers/{word}/ack", {"offset": first + 1, "session": session}) == {"cursor": first + 2}


async def test_an_ack_of_offsets_is_of_these_alone(ask, word):
    first = await worker(ask, word, 4)
    session = (await ask.pull(word))["session"]
    assert await ask.ack(word, offsets=[first + 1, first + 3], session=session) == first
    shown = await ask.subscriber(word)
    assert (shown["open"], shown["lag"]) == (2, 2)
    assert await ask.ack(word, offsets=[first], session=session) == first + 2
    assert await ask.ack(word, offset=first + 2, session=session) == first + 4


async def test_without_a_session_an_ack_is_the_live_sessions(ask, word):
    first = await worker(ask, word, 3)
    await ask.pull(word, max=1)
    assert await ask.ack(word, offset=first) == first + 1
    async with ask.listening(subscriber=word) as listener:
        await listener.events(2)
        assert await ask.ack(word, offset=first + 1) == first + 2


async def test_where_no_session_lives_an_ack_without_one_is_the_last_ones(ask, word):
    first = await worker(ask, word, 2)
    async with ask.listening(subscriber=word) as listener:
        await listener.events(2)

    async def ended():
        return not (await ask.subscriber(word))["connected"]
    await eventually(ended, what="the session ends")
    assert await ask.ack(word, offset=first + 1) == first + 2


async def test_an_ack_that_was_taken_is_answered_with_the_cursor_though_its_session_ends_meanwhile(broker, tmp_path):
    async with asking(broker) as ask:
        await ask.put("worker", channels=["a"])
        await ask.many("a", "a")
        async with ask.listening(subscriber="worker") as listener:
            await listener.events(2)
            slow = Fault(tmp_path / "trace", "fdatasync", "delay_enter=700000", [broker.data / "ledger" / FIRST_SEGMENT])
            slow.attach(broker.process.pid)
            acked = asyncio.create_task(call(ask.session, "POST", ask.url("/v1/subscribers/worker/ack"), json={"offset": 1}))
            await eventually(lambda: slow.trace.read_text(), what="the sync is under way")
        answer = await acked
        cursor = (await ask.subscriber("worker"))["cursor"]
        broker.close()
        slow.detach()
    assert (answer, cursor) == ((200, {"cursor": 2}), 2)


async def test_an_ack_names_either_an_offset_or_offsets(ask, word):
    first = await worker(ask, word, 2)
    await ask.pull(word)
    for said in ({}, {"offset": first, "offsets": [first]}):
        await ask.refused("POST", f"/v1/subscribers/{word}/ack", 400, "offset-invalid", json=said)
