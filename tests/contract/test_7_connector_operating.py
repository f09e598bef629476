"""PROTOCOL.md section 7: how a connector is doing, and what an operator can do with it."""

import asyncio
import datetime
import re

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from connecting import act, attempts, connect, in_state, publish, shown
from endpoint import endpoint
from harness import call, eventually, http, never, refused
from machine_clock import MachineClock

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
SLOWLY = {"initial": "24h", "max": "24h"}
FAST = {"initial": "5ms", "max": "20ms"}


async def made(session, broker, receiver, own, **settings):
    return await connect(session, broker, receiver, name=own, channels=[f"{own}.*"], **{"retry": FAST, **settings})


async def caught_up(session, broker, own):
    async def nothing_left():
        return (await shown(session, broker, own))["lag"] == 0
    await eventually(nothing_left, what=f"{own} has everything")


# state


async def test_active_is_a_connector_that_has_not_failed(shared, session, own):
    async with endpoint() as receiver:
        await made(session, shared, receiver, own)
        await publish(session, shared, 1, channel=f"{own}.e")
        await caught_up(session, shared, own)
        connector = await shown(session, shared, own)
        assert (connector["state"], connector["next_attempt"], connector["last_error"]) == ("active", None, None)


async def test_retrying_after_a_failure_with_next_attempt_and_last_error(shared, session, own):
    async with endpoint(lambda event: 503) as receiver:
        await made(session, shared, receiver, own, retry=SLOWLY)
        await publish(session, shared, 1, channel=f"{own}.e")
        connector = await in_state(session, shared, "retrying", own)
        assert TIME.fullmatch(connector["next_attempt"]) and "503" in connector["last_error"]


async def test_failing_after_5_failures_in_a_row_and_not_after_4(shared, session, own):
    failures = iter([500] * 4)
    async with endpoint(lambda event: next(failures, (500, "", {"retry-after": "3600"}))) as receiver:
        await made(session, shared, receiver, own)
        await publish(session, shared, 1, channel=f"{own}.e")
        connector = await in_state(session, shared, "failing", own)
        assert len(receiver.requests) == 5 and "500" in connector["last_error"]
    failures = iter([500] * 3)
    async with endpoint(lambda event: next(failures, (500, "", {"retry-after": "3600"}))) as receiver:
        await call(session, "DELETE", f"{shared.url}/v1/connectors/{own}", expect=204)
        await made(session, shared, receiver, own)
        await publish(session, shared, 1, channel=f"{own}.e")

        async def waits():
            return len(await attempts(session, shared, own)) == 4 and await shown(session, shared, own)
        assert (await eventually(waits, what="four failures"))["state"] == "retrying"


async def test_a_success_between_them_begins_the_count_anew(shared, session, own):
    failures = iter([500] * 4 + [200] + [500] * 3)
    async with endpoint(lambda event: next(failures, (500, "", {"retry-after": "3600"}))) as receiver:
        await made(session, shared, receiver, own)
        await publish(session, shared, 1, 2, channel=f"{own}.e")
        await eventually(lambda: len(receiver.requests) == 9, what="four failures, one success, four failures")

        async def noted():
            return len(await attempts(session, shared, own)) == 9
        await eventually(noted, what="all are noted")
        assert (await shown(session, shared, own))["state"] == "retrying"


async def test_the_open_circuit_lets_one_probe_through_at_a_time(shared, session, own):
    probes, holding, over = [], asyncio.Event(), asyncio.Event()

    async def refuse(event):
        if holding.is_set():
            probes.append(event)
            await over.wait()
        return 500
    async with endpoint(refuse) as receiver:
        await made(session, shared, receiver, own, in_flight=4)
        await publish(session, shared, *range(8), channel=f"{own}.e")
        await in_state(session, shared, "failing", own)
        # What was under way when the circuit opened is over.
        so_far = len(receiver.requests)
        await eventually(lambda: len(receiver.requests) >= so_far + 8, what="probes")
        holding.set()
        await eventually(lambda: probes, what="a probe that is not answered")
        await never(lambda: len(probes) > 1, within=0.3, what="one at a time")
        over.set()


async def test_the_probe_is_the_ordinary_next_attempt_and_success_makes_it_active(shared, session, own):
    failures = iter([500] * 5)
    async with endpoint(lambda event: next(failures, 200)) as receiver:
        await made(session, shared, receiver, own)
        offset, = await publish(session, shared, 1, channel=f"{own}.e")
        await eventually(lambda: receiver.accepted, what="the probe is taken")
        assert [(got.offset, got.attempt) for got in receiver.requests] == [(offset, n) for n in range(1, 7)]
        connector = await in_state(session, shared, "active", own)
        assert (connector["next_attempt"], connector["last_error"]) == (None, None)


# pause, resume, seek


async def test_pause_answers_204_and_nothing_more_is_sent(shared, session, own):
    async with endpoint() as receiver:
        await made(session, shared, receiver, own)
        assert await act(session, shared, "pause", name=own, expect=204) is None
        assert (await shown(session, shared, own))["state"] == "paused"
        await publish(session, shared, 1, channel=f"{own}.e")
        await never(lambda: receiver.requests, within=0.3, what="it is paused")


async def test_resume_answers_204_and_it_goes_on_from_its_cursor_with_nothing_lost(shared, session, own):
    async with endpoint() as receiver:
        await made(session, shared, receiver, own)
        before = await publish(session, shared, 1, channel=f"{own}.e")
        await caught_up(session, shared, own)
        await act(session, shared, "pause", name=own, expect=204)
        missed = await publish(session, shared, 2, 3, channel=f"{own}.e")
        assert await act(session, shared, "resume", name=own, expect=204) is None
        await eventually(lambda: receiver.accepted == before + missed, what="what came meanwhile, in order")


async def test_a_pause_lasts_over_restarts(brokers):
    broker = brokers().start()
    async with endpoint() as receiver:
        async with http() as session:
            await connect(session, broker, receiver)
            await act(session, broker, "pause", expect=204)
            offsets = await publish(session, broker, 1)
        broker.stop()
        broker.start()
        async with http() as session:
            assert (await shown(session, broker))["state"] == "paused" and not receiver.requests
            await act(session, broker, "resume", expect=204)
            await eventually(lambda: receiver.accepted == offsets, what="it goes on from its cursor")


async def test_seek_moves_the_cursor_back_and_sends_from_there_again(shared, session, own):
    async with endpoint() as receiver:
        await made(session, shared, receiver, own)
        offsets = await publish(session, shared, 1, 2, 3, channel=f"{own}.e")
        await caught_up(session, shared, own)
        answer = await act(session, shared, "seek", name=own, to=offsets[1])
        assert answer == {"cursor": offsets[1]}
        await eventually(lambda: receiver.accepted == offsets + offsets[1:], what="from there on again")


async def test_seek_moves_the_cursor_ahead_and_skips_what_is_between(shared, session, own):
    async with endpoint(lambda event: 500) as receiver:
        await made(session, shared, receiver, own, retry=SLOWLY)
        await publish(session, shared, 1, 2, channel=f"{own}.e")
        assert (await act(session, shared, "seek", name=own, to="latest"))["cursor"] == (await shown(session, shared, own))["end"]
        receiver.answer = lambda event: 200
        offset, = await publish(session, shared, 3, channel=f"{own}.e")
        await eventually(lambda: receiver.accepted == [offset], what="only what comes behind it")


# test


async def test_test_sends_a_sample_event_and_says_what_came_back(shared, session, own):
    async with endpoint(lambda event: (202, "noted")) as receiver:
        connector = await made(session, shared, receiver, own)
        answer = await act(session, shared, "test", name=own)
        assert (answer["status"], answer["error"], answer["response"]) == (202, None, "noted")
        got, = receiver.requests
        assert Webhook(connector["secret"]).verify(got.body, got.headers)["channel"].startswith(f"{own}.")


async def test_test_says_that_an_endpoint_refused(shared, session, own):
    async with endpoint(lambda event: (401, "who are you")) as receiver:
        await made(session, shared, receiver, own)
        answer = await act(session, shared, "test", name=own)
        assert (answer["status"], answer["response"]) == (401, "who are you")


async def test_the_sample_is_no_event_of_the_log(shared, session, own):
    async with endpoint() as receiver:
        before = (await made(session, shared, receiver, own))["end"]
        await act(session, shared, "test", name=own)
        after = await shown(session, shared, own)
        assert (after["end"], after["cursor"]) == (before, before)


# rotate-secret


def verifies(secret, got):
    try:
        Webhook(secret).verify(got.body, got.headers)
        return True
    except WebhookVerificationError:
        return False


async def test_rotate_secret_answers_with_the_new_one(shared, session, own):
    async with endpoint() as receiver:
        old = (await made(session, shared, receiver, own))["secret"]
        answer = await act(session, shared, "rotate-secret", name=own)
        assert set(answer) == {"secret"} and re.fullmatch(r"whsec_\S+", answer["secret"]) and answer["secret"] != old


async def test_the_old_secret_signs_along(shared, session, own):
    async with endpoint() as receiver:
        old = (await made(session, shared, receiver, own))["secret"]
        new = (await act(session, shared, "rotate-secret", name=own))["secret"]
        await publish(session, shared, 1, channel=f"{own}.e")
        await eventually(lambda: receiver.requests, what="the request")
        assert verifies(old, receiver.requests[0]) and verifies(new, receiver.requests[0])


@pytest.mark.parametrize("hours, along", [(23, True), (25, False)])
async def test_the_old_secret_signs_along_for_24_hours(brokers, tmp_path, hours, along):
    clock = MachineClock(tmp_path)
    broker = brokers(environment=clock.environment).start()
    async with http() as session, endpoint() as receiver:
        old = (await connect(session, broker, receiver))["secret"]
        new = (await act(session, broker, "rotate-secret"))["secret"]
        clock.jump(hours * 3_600)
        await publish(session, broker, 1)
        await eventually(lambda: receiver.requests, what="the request")
        got = receiver.requests[0]
        at = datetime.datetime.fromtimestamp(int(got.headers["webhook-timestamp"]), datetime.timezone.utc)
        signed = [Webhook(secret).sign(got.headers["webhook-id"], at, got.body.decode()) for secret in (new, old)]
        assert sorted(got.headers["webhook-signature"].split()) == sorted(signed if along else signed[:1])


# attempts


async def looked_at(session, broker, own, count):
    async def noted():
        found = await attempts(session, broker, own)
        return len(found) >= count and found
    return await eventually(noted, what=f"{count} attempts are noted")


async def test_attempts_are_the_latest_first(shared, session, own):
    failures = iter([500, 503])
    async with endpoint(lambda event: next(failures, 200)) as receiver:
        await made(session, shared, receiver, own)
        await publish(session, shared, 1, channel=f"{own}.e")
        found = await looked_at(session, shared, own, 3)
        assert [(each["attempt"], each["status"]) for each in found] == [(3, 200), (2, 503), (1, 500)]


@pytest.mark.parametrize("member", ["time", "offset", "attempt", "status", "latency_ms", "response"])
async def test_an_attempt_has_its(shared, session, own, member):
    async with endpoint(lambda event: (201, "made " + "x" * 5_000)) as receiver:
        await made(session, shared, receiver, own)
        offset, = await publish(session, shared, 1, channel=f"{own}.e")
        attempt, = await looked_at(session, shared, own, 1)
        value = attempt[member]
        match member:
            case "time":
                assert TIME.fullmatch(value)
            case "latency_ms":
                assert 0 <= value < 5_000
            case "response":
                assert value.startswith("made xxx") and len(value) < 5_000, "the start of the response"
            case _:
                assert value == {"offset": offset, "attempt": 1, "status": 201}[member]


async def test_an_attempt_without_an_answer_has_an_error_in_place_of_the_status(shared, session, own):
    async with endpoint() as receiver:
        await made(session, shared, receiver, own, url="http://127.0.0.1:1/", retry=SLOWLY)
        await publish(session, shared, 1, channel=f"{own}.e")
        attempt, = await looked_at(session, shared, own, 1)
        assert attempt["status"] is None and attempt["error"] and attempt["response"] is None


async def test_attempts_are_a_list_with_limit_after_and_next(shared, session, own):
    async with endpoint() as receiver:
        await made(session, shared, receiver, own)
        await publish(session, shared, *range(5), channel=f"{own}.e")
        every = [each["offset"] for each in await looked_at(session, shared, own, 5)]
        found, after = [], {}
        while after is not None:
            _, page = await call(session, "GET", f"{shared.url}/v1/connectors/{own}/attempts", params={"limit": 2, **after}, expect=200)
            assert len(page["attempts"]) <= 2
            found += [each["offset"] for each in page["attempts"]]
            after = {"after": page["next"]} if page["next"] else None
        assert found == every


@pytest.mark.parametrize("verb", ["pause", "resume", "seek", "test", "rotate-secret", "replay", "attempts"])
async def test_each_verb_of_no_connector_is_404_and_of_a_plain_subscriber_409(shared, session, own, verb):
    await call(session, "PUT", f"{shared.url}/v1/subscribers/{own}-plain", json={"channels": ["a"]}, expect=201)
    method = "GET" if verb == "attempts" else "POST"
    body = {"seek": {"json": {"to": 0}}, "replay": {"json": {"from": 0}}}.get(verb, {})
    await refused(session, method, f"{shared.url}/v1/connectors/nobody/{verb}", 404, "connector-not-found", **body)
    await refused(session, method, f"{shared.url}/v1/connectors/{own}-plain/{verb}", 409, "name-of-other-kind", **body)
