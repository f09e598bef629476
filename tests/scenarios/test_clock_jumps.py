"""A clock that jumps changes no order, no cursor, and no deadline beyond what was chosen.

Invariants 2, 16, 18, 19, 22, 26 and 28, on the real binary with libfaketime, while it runs and over restarts."""

import asyncio
import datetime
import time

import pytest

from endpoint import endpoint
from harness import call, eventually, exported, http, never, verify
from listening import listening
from machine_clock import MachineClock

HOUR, TEN_YEARS = 3_600, 10 * 365 * 24 * 3_600
JUMPS = {"a second ahead": 1, "a second back": -1, "an hour ahead": HOUR, "an hour back": -HOUR,
         "ten years ahead": TEN_YEARS, "to 1970": -int(time.time()) + 24 * HOUR}
RETRY = {"initial": "100ms", "max": "500ms"}

every_jump = pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS.keys())


@pytest.fixture
def clock(tmp_path):
    return MachineClock(tmp_path)


@pytest.fixture
def broker(brokers, clock):
    return brokers(environment=clock.environment).start()


async def publish(session, broker, id, **arguments):
    _, answer = await call(session, "POST", f"{broker.url}/v1/events/clock.jumped", json={"of": id},
                           headers={"idempotency-key": id}, **arguments)
    return answer


def time_of(event):
    return datetime.datetime.fromisoformat(event["time"])


async def shown(session, broker, kind, name):
    _, answer = await call(session, "GET", f"{broker.url}/v1/{kind}/{name}", expect=200)
    return answer


async def make_connector(session, broker, receiver, **retry):
    await call(session, "PUT", f"{broker.url}/v1/connectors/receiver", expect=201,
               json={"url": receiver.url, "channels": ["clock.*"], "from": "earliest", "retry": {**RETRY, **retry}})


@every_jump
async def test_order_cursors_and_ids_stay_as_they_are_and_event_time_never_falls(broker, clock, jump):
    sent = []

    async def some(session, stage):
        for n in range(3):
            sent.append(f"{stage}-{n}")
            assert (await publish(session, broker, sent[-1], expect=201))["offset"] == len(sent) - 1

    async with http() as session:
        await call(session, "PUT", f"{broker.url}/v1/subscribers/listener", expect=201,
                   json={"channels": ["clock.*"], "from": "earliest", "expires": "30m"})
        async with listening(session, broker, subscriber="listener") as listener:
            await some(session, "before")
            assert [(await listener.event())["offset"] for _ in range(3)] == [0, 1, 2]
            assert await listener.ack(0) == 1
            clock.jump(jump)
            await some(session, "after-the-jump")
            # What is open stays open: its time to be acknowledged is not over because a clock jumped.
            came = await listener.events(3)
            assert [(event["offset"], event.get("attempt")) for event in came] == [(3, None), (4, None), (5, None)]
            assert await listener.ack(3) == 4
    broker.stop()
    broker.start()
    async with http() as session:
        assert (await shown(session, broker, "subscribers", "listener"))["cursor"] == 4
        await some(session, "after-a-restart")
        clock.jump(0)
        await some(session, "back-again")
        async with listening(session, broker, subscriber="listener") as listener:
            assert [event["offset"] for event in await listener.events(len(sent) - 4)] == list(range(4, len(sent)))
            assert await listener.ack(len(sent) - 1) == len(sent)
        # Within 24 h an id is known, whichever way the clock went; the newest is, whatever it shows.
        for offset, id in enumerate(sent):
            if jump < TEN_YEARS or offset == len(sent) - 1:
                again = await publish(session, broker, id, expect=200)
                assert (again["offset"], again["duplicate"]) == (offset, True)
        events = await exported(session, broker)
    assert [(event["offset"], event["id"]) for event in events] == list(enumerate(sent))
    times = [time_of(event) for event in events]
    assert times == sorted(times), "event time fell"
    leap = (times[3] - times[2]).total_seconds()
    assert abs(leap - max(jump, 0)) < 60, f"the broker's clock did not jump: {leap} s"
    broker.stop()
    verify(broker.data)


@every_jump
async def test_an_endpoint_that_refuses_is_tried_on_as_before_when_the_clock_jumps(broker, clock, jump):
    accepts = False
    async with http() as session, endpoint(lambda event: 200 if accepts else 500) as receiver:
        await make_connector(session, broker, receiver)
        await publish(session, broker, "refused", expect=201)
        await eventually(lambda: len(receiver.attempts) >= 2, what="it is tried again")
        clock.jump(jump)
        so_far = len(receiver.attempts)
        await eventually(lambda: len(receiver.attempts) >= so_far + 3, within=5, what="it is tried on")
        accepts = True
        await eventually(lambda: receiver.accepted == [0], within=5, what="it is delivered")


@every_jump
async def test_an_attempt_that_is_due_after_a_restart_is_not_put_off_by_what_the_clock_shows_then(
        broker, clock, jump):
    accepts = False
    async with endpoint(lambda event: 200 if accepts else 500) as receiver:
        async with http() as session:
            await make_connector(session, broker, receiver)
            await publish(session, broker, "refused", expect=201)
            await eventually(lambda: len(receiver.attempts) >= 2, what="it is tried again")
        # An attempt may be under way: the endpoint, which is here, has to answer it meanwhile.
        await asyncio.to_thread(broker.stop)
        accepts = True
        clock.jump(jump)
        broker.start()
        # At most the half second that was chosen is left to wait.
        await eventually(lambda: receiver.accepted == [0], within=5, what="it is delivered")


async def test_whoever_resumes_a_connector_does_not_wait_for_a_clock_that_was_ahead(broker, clock):
    accepts = False
    async with http() as session, endpoint(lambda event: 200 if accepts else 500) as receiver:
        await make_connector(session, broker, receiver)
        clock.jump(HOUR)
        await publish(session, broker, "refused", expect=201)
        await eventually(lambda: len(receiver.attempts) >= 2, what="it is tried again")
        await call(session, "POST", f"{broker.url}/v1/connectors/receiver/pause", expect=204)
        accepts = True
        clock.jump(0)
        await call(session, "POST", f"{broker.url}/v1/connectors/receiver/resume", expect=204)
        await eventually(lambda: receiver.accepted == [0], within=5, what="it is delivered")


@pytest.mark.parametrize("jump", [HOUR * 2, TEN_YEARS], ids=["two hours", "ten years"])
async def test_an_event_is_not_given_up_because_the_clock_jumped_ahead(broker, clock, jump):
    async with http() as session, endpoint(lambda event: 500) as receiver:
        await make_connector(session, broker, receiver, give_up_after="1h")
        await publish(session, broker, "refused", expect=201)
        await eventually(lambda: len(receiver.attempts) >= 2, what="it is tried again")
        clock.jump(jump)
        so_far = len(receiver.attempts)
        await eventually(lambda: len(receiver.attempts) >= so_far + 3, within=5, what="it is tried on")
        _, dead = await call(session, "GET", f"{broker.url}/v1/receipts?subscriber=receiver", expect=200)
        assert dead["receipts"] == [], f"it was given up after seconds: {dead}"


@pytest.mark.parametrize("jump", [TEN_YEARS, JUMPS["to 1970"]], ids=["ten years ahead", "to 1970"])
async def test_a_subscriber_expires_after_the_time_that_passed_not_after_what_the_clock_shows(broker, clock, jump):
    async with http() as session:
        await call(session, "PUT", f"{broker.url}/v1/subscribers/away", expect=201,
                   json={"channels": ["clock.*"], "expires": "30m"})
        await call(session, "PUT", f"{broker.url}/v1/subscribers/gone", expect=201,
                   json={"channels": ["clock.*"], "ack_timeout": "1s", "expires": "1s"})
        clock.jump(jump)

        async def gone():
            return (await call(session, "GET", f"{broker.url}/v1/subscribers/gone"))[0] == 404

        await eventually(gone, within=10, what="who was to expire after a second is gone")
        await shown(session, broker, "subscribers", "away")
    broker.stop()
    broker.start()
    async with http() as session:
        await shown(session, broker, "subscribers", "away")


async def test_retention_by_age_takes_a_bounded_share_when_the_clock_jumps_ten_years_ahead_and_stops_when_it_is_back(
        brokers, clock):
    settings = {**clock.environment, "STENTOR_SEGMENTS_EVENTS": "4KiB", "STENTOR_RETENTION_MAX_AGE": "1h"}
    broker = brokers(environment=settings).start()
    in_a_segment = 3

    async with http() as session:
        for n in range(40 * in_a_segment):
            await call(session, "POST", f"{broker.url}/v1/events/old", json={"n": n, "pad": "x" * 900}, expect=201)

        async def start():
            _, page = await call(session, "GET", f"{broker.url}/v1/events?from=earliest&limit=1", expect=200)
            return page["events"][0]["offset"]

        assert await start() == 0
        jumped = time.monotonic()
        clock.jump(TEN_YEARS)
        await eventually(lambda: taken(start, in_a_segment * 3), within=10, what="the oldest segments go")
        gone = await start()
        # A tenth of forty segments a minute; a second minute may have begun meanwhile.
        minutes = (time.monotonic() - jumped) // 60 + 2
        assert gone <= minutes * 4 * in_a_segment, f"{gone} events at once"
        clock.jump(0)
        # The round under way may still take one.
        gone = await start() + in_a_segment
        await never(lambda: taken(start, gone + 1), within=3, what="retention went on with the clock back")


async def taken(start, at_least):
    return await start() >= at_least
