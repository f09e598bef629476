"""PROTOCOL.md section 7, `state`, and the broker's own events about it on `$stentor.connector.*`."""

import asyncio

from connecting import RETRY, act, connect, in_state, publish, shown
from endpoint import endpoint
from harness import call, eventually, http, refused


async def news(session, broker):
    """What the broker published about connectors, in order."""
    query = {"channels": "$stentor.connector.*"}
    _, answer = await call(session, "GET", f"{broker.url}/v1/events", params=query, expect=200)
    return [(event["channel"].removeprefix("$stentor.connector."), event["key"], event["data"]) for event in answer["events"]]


async def told(session, broker, *names):
    async def so_far():
        found = await news(session, broker)
        return len(found) >= len(names) and found
    found = await eventually(so_far, what=f"{names} were published")
    assert [name for name, _, _ in found] == list(names)
    return found


async def test_a_connector_is_active_retrying_failing_and_active_again_and_the_log_says_when(broker):
    async with http() as session, endpoint(lambda event: 503) as receiver:
        connector = await connect(session, broker, receiver, retry={"initial": "1s", "max": "1s"})
        assert (connector["state"], connector["next_attempt"], connector["last_error"]) == ("active", None, None)
        offset, = await publish(session, broker, "a")
        retrying = await in_state(session, broker, "retrying")
        assert retrying["next_attempt"].endswith("Z") and retrying["last_error"] == "answered 503"
        await in_state(session, broker, "failing")
        (_, key, data), = await told(session, broker, "failing")
        assert key == "ems" and data == {
            "connector": "ems", "reason": "answered 503", "offset": offset, "attempts": 5, "status": 503}
        receiver.answer = lambda event: 200
        active = await in_state(session, broker, "active")
        assert (active["next_attempt"], active["last_error"]) == (None, None)
        _, (_, _, data) = await told(session, broker, "failing", "recovered")
        assert data == {"connector": "ems", "offset": offset}


async def test_the_news_reach_who_listens_to_them_and_nobody_else_may_publish_there(broker):
    async with http() as session, endpoint(lambda event: 500) as receiver, endpoint() as pager, endpoint() as everything:
        await connect(session, broker, pager, name="pager", channels=["$stentor.connector.failing"])
        await connect(session, broker, everything, name="everything", channels=["**"])
        await connect(session, broker, receiver)
        await publish(session, broker, "a")
        await eventually(lambda: pager.accepted, what="the pager is told")
        assert not [got for got in everything.requests if got.headers["stentor-channel"].startswith("$")]
        for channel in ("$stentor.connector.failing", "$mine"):
            await refused(session, "POST", f"{broker.url}/v1/events/{channel}", 403, "channel-reserved", json=1)


async def test_events_that_are_given_up_count_as_failures_too(broker):
    async with http() as session, endpoint(lambda event: 400) as receiver:
        await connect(session, broker, receiver, retry={**RETRY, "give_up_after": 1})
        await publish(session, broker, *range(4))
        await eventually(lambda: len(receiver.requests) == 4, what="four were tried")
        assert await news(session, broker) == []
        await publish(session, broker, 5)
        connector = await in_state(session, broker, "failing")
        assert connector["last_error"] == "answered 400" and connector["lag"] == 0
        await told(session, broker, "failing")


async def test_a_410_pauses_the_connector_and_nothing_is_lost(broker):
    async with http() as session, endpoint(lambda event: 410) as receiver:
        await connect(session, broker, receiver)
        offset, = await publish(session, broker, "a")
        paused = await in_state(session, broker, "paused")
        assert paused["next_attempt"] is None and "410" in paused["last_error"]
        (_, _, data), = await told(session, broker, "paused")
        assert data == {"connector": "ems", "reason": "the endpoint answered 410 Gone", "offset": offset}
        await publish(session, broker, "b")
        broker.kill()
        broker.start()
        assert (await shown(session, broker))["state"] == "paused", "over restarts too"
        assert len(receiver.requests) == 1
        receiver.answer = lambda event: 200
        await act(session, broker, "resume", expect=204)
        await eventually(lambda: len(receiver.accepted) == 2, what="it goes on from its cursor")
        await in_state(session, broker, "active")
        await told(session, broker, "paused", "recovered")


async def test_one_that_failed_and_was_resumed_is_told_to_have_recovered(broker):
    """A resume begins its failures anew: whoever heard the alarm never heard the end of it."""
    async with http() as session, endpoint(lambda event: 503) as receiver:
        await connect(session, broker, receiver)
        offset, = await publish(session, broker, "a")
        await told(session, broker, "failing")
        receiver.answer = lambda event: 200
        await act(session, broker, "resume", expect=204)
        _, (_, _, data) = await told(session, broker, "failing", "recovered")
        assert data == {"connector": "ems", "offset": offset}


async def test_a_pause_by_an_operator_is_told_once(broker):
    async with http() as session, endpoint() as receiver:
        await connect(session, broker, receiver)
        for _ in range(2):
            await act(session, broker, "pause", expect=204)
        (_, _, data), = await told(session, broker, "paused")
        assert data == {"connector": "ems", "reason": "an operator paused it", "offset": None}
        await act(session, broker, "resume", expect=204)
        await act(session, broker, "pause", expect=204)
        await told(session, broker, "paused", "paused")


async def test_a_change_while_the_fifth_attempt_is_under_way_tells_of_no_recovery_from_what_was_never_told(broker):
    """It did: the alarm was remembered before it was known whether it would be told."""
    asked, answered = asyncio.Event(), asyncio.Event()

    async def answer(event):
        if len(receiver.requests) == 5:
            asked.set()
            await answered.wait()
        return 503 if len(receiver.requests) <= 5 else 200

    async with http() as session, endpoint(answer) as receiver:
        await connect(session, broker, receiver)
        await publish(session, broker, "a")
        await asyncio.wait_for(asked.wait(), 30)
        await connect(session, broker, receiver, expect=200, in_flight=2)
        answered.set()
        await eventually(lambda: receiver.accepted, what="it is delivered")
        # What is told is told before the next request goes out.
        await publish(session, broker, "b")
        await eventually(lambda: len(receiver.accepted) == 2, what="the next one is delivered")
        found = [name for name, _, _ in await news(session, broker)]
        assert found in ([], ["failing", "recovered"]), "the end of an alarm is told to who heard it, and to nobody else"


async def test_an_answer_of_before_a_seek_tells_of_no_recovery(broker):
    """It did: the alarm was over for those who listen, and went on for the connector, which never told of its end."""
    asked, answered, again = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer(event):
        number = len(receiver.requests)
        if number == 6:
            asked.set()
            await answered.wait()
            return 200
        if number == 7:
            again.set()
        return 503 if number <= 8 else 200

    async with http() as session, endpoint(answer) as receiver:
        await connect(session, broker, receiver)
        offset, = await publish(session, broker, "a")
        await asyncio.wait_for(asked.wait(), 30)
        await call(session, "POST", f"{broker.url}/v1/connectors/ems/seek", json={"to": offset}, expect=200)
        answered.set()
        await asyncio.wait_for(again.wait(), 30)
        await told(session, broker, "failing")
        await told(session, broker, "failing", "recovered")
        assert len(receiver.requests) == 9
