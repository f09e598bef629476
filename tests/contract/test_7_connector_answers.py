"""PROTOCOL.md section 7: what an endpoint's answer means, when an attempt comes again, and what goes side by side."""

import asyncio
import datetime
import email.utils
import time

import pytest

from connecting import attempts, connect, dead_letters, in_state, publish, receipts, shown
from endpoint import endpoint
from harness import call, eventually, never

FAST = {"initial": "5ms", "max": "20ms"}
HOUR = 3_600


async def made(session, broker, receiver, own, **settings):
    return await connect(session, broker, receiver, name=own, channels=[f"{own}.*"], **{"retry": FAST, **settings})


def when(text):
    return datetime.datetime.fromisoformat(text).timestamp()


# 2xx and everything else


@pytest.mark.parametrize("status", [200, 201, 202, 203, 204, 206, 226, 299])
async def test_2xx_is_the_ack(shared, session, own, status):
    async with endpoint(lambda event: status) as receiver:
        await made(session, shared, receiver, own)
        offset, = await publish(session, shared, 1, channel=f"{own}.e")

        async def acknowledged():
            return (await shown(session, shared, own))["cursor"] == offset + 1
        await eventually(acknowledged, what="the cursor has passed it")
        assert len(receiver.requests) == 1
        receipt, = await receipts(session, shared, subscriber=own)
        assert (receipt["outcome"], receipt["status"]) == ("acked", status)


@pytest.mark.parametrize("status", [300, 304, 400, 401, 403, 404, 409, 413, 422, 429, 500, 501, 502, 503, 504, 599])
async def test_everything_else_is_tried_again(shared, session, own, status):
    answers = iter([status, status])
    async with endpoint(lambda event: next(answers, 200)) as receiver:
        await made(session, shared, receiver, own)
        await publish(session, shared, 1, channel=f"{own}.e")
        await eventually(lambda: receiver.accepted, what="it is taken in the end")
        assert [got.attempt for got in receiver.requests] == [1, 2, 3]


async def test_a_timeout_is_tried_again(shared, session, own):
    over = asyncio.Event()

    async def never_at_first(event):
        if len(receiver.requests) == 1:
            await over.wait()
        return 200
    async with endpoint(never_at_first) as receiver:
        await made(session, shared, receiver, own, timeout="1s")
        await publish(session, shared, 1, channel=f"{own}.e")
        await eventually(lambda: receiver.accepted, what="it is taken in the end")
        assert 0.9 <= receiver.requests[1].came - receiver.requests[0].came < 10

        async def both():
            noted = await attempts(session, shared, own)
            return len(noted) >= 2 and noted
        first = (await eventually(both, what="both are noted"))[-1]
        assert first["status"] is None and first["error"]
        over.set()


async def test_a_refused_connection_is_tried_again(shared, session, own):
    async with endpoint() as gone:
        url = gone.url
    async with endpoint() as receiver:
        await made(session, shared, receiver, own, url=url)
        await publish(session, shared, 1, channel=f"{own}.e")

        async def tried():
            return len(await attempts(session, shared, own)) >= 3
        await eventually(tried, what="three attempts")
        await made(session, shared, receiver, own, expect=200)
        await eventually(lambda: receiver.accepted, what="it is taken in the end")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(shared, session, own, status):
    async with endpoint() as elsewhere, endpoint(lambda event: (status, "", {"location": elsewhere.url})) as receiver:
        await made(session, shared, receiver, own)
        await publish(session, shared, 1, channel=f"{own}.e")
        await eventually(lambda: len(receiver.requests) >= 3, what="it is tried again where it was sent")
        assert not elsewhere.requests


async def test_410_pauses_the_connector(shared, session, own):
    async with endpoint(lambda event: 410) as receiver:
        await made(session, shared, receiver, own)
        await publish(session, shared, 1, channel=f"{own}.e")
        paused = await in_state(session, shared, "paused", own)
        assert (paused["lag"], len(receiver.requests)) == (1, 1)


# When it is tried again


async def crowd(session, broker, own, receiver, count, **retry):
    """So many connectors of the same settings, each with one event that the endpoint refuses."""
    names = [f"{own}-{n}" for n in range(count)]
    await asyncio.gather(*(connect(session, broker, receiver, name=name, channels=[f"{own}.*"], retry=retry) for name in names))
    await publish(session, broker, 1, channel=f"{own}.e")
    return names


async def remove(session, broker, names):
    for name in names:
        await call(session, "DELETE", f"{broker.url}/v1/connectors/{name}", expect=204)


async def test_the_first_wait_is_random_between_nothing_and_initial(shared, session, own):
    async with endpoint(lambda event: 500) as receiver:
        names = await crowd(session, shared, own, receiver, 24, initial="10h", max="24h")
        waits = []
        for name in names:
            due = (await in_state(session, shared, "retrying", name))["next_attempt"]
            waits.append(when(due) - when((await attempts(session, shared, name))[0]["time"]))
        assert all(-1 <= wait <= 10 * HOUR + 1 for wait in waits), waits
        # By chance alone, one run in millions has none in a half.
        assert min(waits) < 5 * HOUR < max(waits) and len(set(waits)) == 24
        await remove(session, shared, names)


async def gaps(session, broker, own, count, attempts_each, **retry):
    """The waits of a crowd between its attempts: one list a connector."""
    async with endpoint(lambda event: 500) as receiver:
        names = await crowd(session, broker, own, receiver, count, **retry)
        came = {}

        async def enough():
            for name in names:
                latest = await attempts(session, broker, name)
                came[name] = [when(attempt["time"]) for attempt in reversed(latest)][:attempts_each]
            return all(len(times) == attempts_each for times in came.values())
        await eventually(enough, every=0.1, what="all were tried so often")
        await remove(session, broker, names)
        return [[later - earlier for earlier, later in zip(times, times[1:])] for times in came.values()]


async def test_the_waits_grow_exponentially(shared, session, own):
    waits = await gaps(session, shared, own, 12, 8, initial="20ms", max="1h")
    # The ceilings are 20 ms and then 20 ms * 2^n, the means about half of them; a busy machine adds to each.
    means = [sum(column) / len(column) for column in zip(*waits)]
    assert means[6] > 0.25 and means[6] - means[0] > 0.15, means
    for column, ceiling in zip(zip(*waits), (0.02 * 2 ** n for n in range(7))):
        assert sorted(column)[len(column) // 2] < ceiling + 1, (column, ceiling)


async def test_no_wait_is_above_max(shared, session, own):
    waits = await gaps(session, shared, own, 4, 12, initial="10ms", max="30ms")
    # Without it the last of them would be five seconds in the mean, half of 10 ms * 2^10.
    assert sum(each[-1] for each in waits) / 4 < 1, waits


async def due_after(session, broker, own, header):
    """The wait until the next attempt, in seconds, when the first answer says Retry-After."""
    async with endpoint(lambda event: (503, "", {"retry-after": header})) as receiver:
        await made(session, broker, receiver, own, retry={"initial": "1ms", "max": "1ms"})
        await publish(session, broker, 1, channel=f"{own}.e")
        due = (await in_state(session, broker, "retrying", own))["next_attempt"]
        assert len(receiver.requests) == 1
        return when(due) - when((await attempts(session, broker, own))[0]["time"])


async def test_retry_after_in_seconds_is_obeyed(shared, session, own):
    assert 5_000 <= await due_after(session, shared, own, "5000") < 5_010


async def test_retry_after_as_a_date_is_obeyed(shared, session, own):
    wait = await due_after(session, shared, own, email.utils.formatdate(time.time() + 5_000, usegmt=True))
    assert 4_998 <= wait < 5_010


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_obeyed_for_24_hours_at_most(shared, session, own, form):
    far = 100 * 24 * HOUR
    header = str(far) if form == "seconds" else email.utils.formatdate(time.time() + far, usegmt=True)
    assert 24 * HOUR - 2 <= await due_after(session, shared, own, header) < 24 * HOUR + 10


async def test_it_is_tried_for_ever_unless_told_to_give_up_and_holds_up_all_behind_it(shared, session, own):
    async with endpoint(lambda event: 500) as receiver:
        await made(session, shared, receiver, own)
        first, second = await publish(session, shared, 1, 2, channel=f"{own}.e")
        await eventually(lambda: len(receiver.requests) >= 30, what="it is tried again and again")
        assert set(receiver.attempts) == {first}
        connector = await shown(session, shared, own)
        assert (connector["cursor"], connector["lag"]) == (first, 2)
        assert (await dead_letters(session, shared, subscriber=own))["dead_letters"] == []
        receiver.answer = lambda event: 200
        await eventually(lambda: receiver.accepted == [first, second], what="then the next one goes")


# give_up_after


async def given_up(session, broker, own, receiver, give_up_after):
    """Two events of which the first is refused; gives their offsets once the second was taken."""
    receiver.answer = lambda event: 500 if event["data"] == "bad" else 200
    await made(session, broker, receiver, own, retry={**FAST, "give_up_after": give_up_after})
    offsets = await publish(session, broker, "bad", "good", channel=f"{own}.e")
    await eventually(lambda: receiver.accepted == offsets[1:], what="the next one goes")
    return offsets


async def test_give_up_after_is_a_number_of_attempts(shared, session, own):
    async with endpoint() as receiver:
        bad, good = await given_up(session, shared, own, receiver, 3)
        assert receiver.attempts == [bad, bad, bad, good]


async def test_or_a_duration(shared, session, own):
    async with endpoint() as receiver:
        bad, _ = await given_up(session, shared, own, receiver, "2s")
        came = [got.came for got in receiver.requests if got.offset == bad]
        assert len(came) > 3 and 1.8 < came[-1] - came[0] < 10


async def test_then_the_event_is_dead_lettered_with_a_receipt_dead(shared, session, own):
    async with endpoint() as receiver:
        bad, good = await given_up(session, shared, own, receiver, 2)
        letter, = (await dead_letters(session, shared, subscriber=own))["dead_letters"]
        assert (letter["offset"], letter["attempts"]) == (bad, 2)
        receipt = (await receipts(session, shared, subscriber=own))[0]
        assert (receipt["from"], receipt["outcome"], receipt["attempts"]) == (bad, "dead", 2)


async def test_the_event_that_was_given_up_stays_in_the_log(shared, session, own):
    async with endpoint() as receiver:
        bad, _ = await given_up(session, shared, own, receiver, 1)
        _, event = await call(session, "GET", f"{shared.url}/v1/events/{bad}", expect=200)
        assert event["data"] == "bad"


# in_flight


class Held:
    """Answers an event only when it is let go."""

    def __init__(self):
        self.under_way, self.most, self.going = [], 0, {}

    async def __call__(self, event):
        self.under_way.append(event["data"])
        self.most = max(self.most, len(self.under_way))
        await self.going.setdefault(event["data"], asyncio.Event()).wait()
        self.under_way.remove(event["data"])
        return 200

    def let_go(self, *names):
        for name in names:
            self.going.setdefault(name, asyncio.Event()).set()


async def keyed(session, broker, own, *events):
    for data, key in events:
        headers = {"stentor-key": key} if key else {}
        await publish(session, broker, data, channel=f"{own}.e", **headers)


async def test_in_flight_1_delivers_one_after_another_in_order(shared, session, own):
    async with endpoint() as receiver:
        await made(session, shared, receiver, own, in_flight=1)
        offsets = await publish(session, shared, *range(20), channel=f"{own}.e")
        await eventually(lambda: len(receiver.accepted) == 20, what="all are taken")
        assert receiver.attempts == offsets


async def test_in_flight_1_has_one_request_under_way_whatever_the_keys(shared, session, own):
    held = Held()
    async with endpoint(held) as receiver:
        await made(session, shared, receiver, own, in_flight=1)
        await keyed(session, shared, own, ("a", "k1"), ("b", "k2"))
        await eventually(lambda: held.under_way == ["a"], what="the first")
        await never(lambda: len(held.under_way) > 1, within=0.3, what="the second must wait")
        held.let_go("a", "b")
        await eventually(lambda: len(receiver.accepted) == 2, what="both are taken")
        assert held.most == 1


async def test_in_flight_above_1_delivers_so_many_in_parallel(shared, session, own):
    held = Held()
    async with endpoint(held) as receiver:
        await made(session, shared, receiver, own, in_flight=3)
        await keyed(session, shared, own, *((n, f"k{n}") for n in range(5)))
        await eventually(lambda: sorted(held.under_way) == [0, 1, 2], what="three at once")
        await never(lambda: len(held.under_way) > 3, within=0.3, what="no more than three")
        held.let_go(*range(5))
        await eventually(lambda: len(receiver.accepted) == 5, what="all are taken")
        assert held.most == 3


async def test_events_of_one_key_stay_in_order_and_hold_up_no_other_key(shared, session, own):
    held = Held()
    async with endpoint(held) as receiver:
        await made(session, shared, receiver, own, in_flight=4)
        await keyed(session, shared, own, ("a1", "a"), ("a2", "a"), ("b1", "b"))
        await eventually(lambda: sorted(held.under_way) == ["a1", "b1"], what="the first of each key")
        await never(lambda: "a2" in held.under_way, within=0.3, what="the second of a key waits for the first")
        held.let_go("a1")
        await eventually(lambda: "a2" in held.under_way, what="then it goes")
        held.let_go("a2", "b1")
        await eventually(lambda: len(receiver.accepted) == 3, what="all are taken")


async def test_a_refused_event_holds_up_those_of_its_key_alone(shared, session, own):
    async with endpoint(lambda event: 500 if event["data"] == "a1" else 200) as receiver:
        await made(session, shared, receiver, own, in_flight=4)
        await keyed(session, shared, own, ("a1", "a"), ("a2", "a"), ("b1", "b"), ("none", None))
        await eventually(lambda: len(receiver.accepted) == 2 and receiver.attempts.count(receiver.attempts[0]) >= 3,
                         what="the others pass it while it is tried again")
        receiver.answer = lambda event: 200
        await eventually(lambda: len(receiver.accepted) == 4, what="all are taken")


async def test_events_without_a_key_are_unordered_among_themselves(shared, session, own):
    held = Held()
    async with endpoint(held) as receiver:
        await made(session, shared, receiver, own, in_flight=2)
        await keyed(session, shared, own, ("first", None), ("second", None))
        await eventually(lambda: sorted(held.under_way) == ["first", "second"], what="both at once")
        held.let_go("second")
        await eventually(lambda: len(receiver.accepted) == 1, what="the second is taken before the first")
        held.let_go("first")
        await eventually(lambda: len(receiver.accepted) == 2, what="all are taken")


# rate_limit


async def test_no_more_attempts_go_out_than_the_rate_limit_allows(shared, session, own):
    async with endpoint() as receiver:
        await made(session, shared, receiver, own, rate_limit="20/s")
        await publish(session, shared, *range(10), channel=f"{own}.e")
        await eventually(lambda: len(receiver.accepted) == 10, what="all are taken")
        # Half of it, because the first may come late.
        assert receiver.requests[-1].came - receiver.requests[0].came >= 9 * 0.05 / 2
