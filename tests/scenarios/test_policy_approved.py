"""The policy that was approved: an endpoint that fails, in every way that endpoints do, has it in the end, once."""

import asyncio
import base64
import contextlib
import json
import socket
import time

import aiohttp
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from harness import call, eventually, http, verify

RETRY = {"initial": "100ms", "max": "500ms"}
AUTHORIZATION = "Bearer abc123"


class Receiver:
    """A real HTTP endpoint. Its port is held from the beginning; it listens once it is opened.

    `answer` decides: it is given the request and gives a status, or a status and headers.
    """

    def __init__(self):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/api/updateProcedure"
        self.requests = []
        self.answer = lambda request: 200
        self._runner = None

    async def open(self):
        application = web.Application()
        application.router.add_post("/api/updateProcedure", self._receive)
        self._runner = web.AppRunner(application, shutdown_timeout=1)
        await self._runner.setup()
        await web.SockSite(self._runner, self.socket).start()

    async def close(self):
        if self._runner:
            await self._runner.cleanup()
        self.socket.close()

    async def _receive(self, request):
        body = await request.read()
        got = {
            "policy": json.loads(body)["data"]["policy"], "offset": int(request.headers["stentor-offset"]), "attempt": int(request.headers["stentor-attempt"]),
            "webhook-id": request.headers["webhook-id"], "headers": {k.lower(): v for k, v in request.headers.items()},
            "body": body, "status": None, "came": time.monotonic(),
        }
        self.requests.append(got)
        answer = self.answer(got)
        if asyncio.iscoroutine(answer):
            answer = await answer
        got["status"], headers = answer if isinstance(answer, tuple) else (answer, {})
        return web.Response(status=got["status"], headers=headers, text="what came of it")

    def accepted(self):
        """The policies that were answered 200, in the order of the requests."""
        return [got["policy"] for got in self.requests if got["status"] == 200]

    def statuses(self, policy):
        return [got["status"] for got in self.requests if got["policy"] == policy]

    def of(self, policy):
        return [got for got in self.requests if got["policy"] == policy]


@pytest.fixture
async def receiver():
    made = Receiver()
    yield made
    await made.close()


@contextlib.asynccontextmanager
async def scheduler(broker, receiver, **settings):
    """A client session and the connector `EMS-Scheduler`; gives both, the connector with its secret."""
    async with http() as session:
        asked = {"url": receiver.url, "channels": ["policy.approved"], "headers": {"authorization": AUTHORIZATION},
                 "retry": RETRY, **settings}
        _, connector = await call(session, "PUT", f"{broker.url}/v1/connectors/EMS-Scheduler", json=asked, expect=201)
        yield session, connector


async def publish(session, broker, *numbers):
    for number in numbers:
        # After a restart a kept connection may be dead: the outcome is unknown, and the same id is published again.
        for attempt in range(3):
            try:
                status, answer = await call(session, "POST", f"{broker.url}/v1/events/policy.approved",
                                            json={"policy": number}, headers={"idempotency-key": f"policy-{number}"})
                break
            except aiohttp.ClientConnectionError:
                if attempt == 2:
                    raise
        assert status in (200, 201)


async def shown(session, broker):
    return (await call(session, "GET", f"{broker.url}/v1/connectors/EMS-Scheduler", expect=200))[1]


async def is_through(session, broker, within=30):
    async def through():
        connector = await shown(session, broker)
        return connector["lag"] == 0 and connector
    return await eventually(through, within=within, what="the connector has sent everything")


def are_what_was_published(receiver, secret):
    """Every request is signed, authorized and whole; attempts count up and the id stays."""
    webhook = Webhook(secret)
    for got in receiver.requests:
        assert webhook.verify(got["body"], got["headers"])["data"] == {"policy": got["policy"]}
        assert got["headers"]["authorization"] == AUTHORIZATION
        assert got["headers"]["stentor-channel"] == "policy.approved"
        assert got["headers"]["stentor-id"] == f"policy-{got['policy']}"
        assert got["webhook-id"].startswith("evt_") and got["webhook-id"].endswith(f"_{got['offset']}")
        assert json.loads(got["body"])["offset"] == got["offset"]
    for policy in {got["policy"] for got in receiver.requests}:
        assert len({got["webhook-id"] for got in receiver.of(policy)}) == 1


async def test_an_endpoint_that_refuses_fails_and_asks_for_time_gets_every_policy_in_order_also_over_a_kill(
        broker, receiver):
    held, release = asyncio.Event(), asyncio.Event()

    async def hold_the_fifth(got):
        """Event 4 fails three times; at its fourth attempt the broker is killed while it waits for the answer."""
        if got["policy"] != 4 or release.is_set():
            return 200
        if got["attempt"] <= 3:
            return 500
        held.set()
        async with asyncio.timeout(30):
            await release.wait()
        return 200

    async with scheduler(broker, receiver) as (session, connector):
        secret = connector["secret"]

        # Nobody listens.
        await publish(session, broker, 0, 1, 2)

        async def is_refused():
            connector = await shown(session, broker)
            return connector["last_error"] and connector["state"] in ("retrying", "failing") and connector
        refused = await eventually(is_refused, what="the refused connection shows")
        assert (refused["cursor"], refused["lag"]) == (0, 3)

        # It fails.
        receiver.answer = lambda got: 500
        await receiver.open()
        await eventually(lambda: receiver.statuses(0).count(500) >= 3, what="three attempts were answered 500")
        await publish(session, broker, 3, 4, 5)

        # It asks for a second.
        receiver.answer = lambda got: (503, {"retry-after": "1"})
        await eventually(lambda: 503 in receiver.statuses(0), what="an attempt was answered 503")
        receiver.answer = hold_the_fifth
        asked = next(got for got in receiver.requests if got["status"] == 503)
        await eventually(lambda: 200 in receiver.statuses(0), what="the first event was accepted")
        later = receiver.of(0)[receiver.of(0).index(asked) + 1]
        assert later["came"] - asked["came"] >= 1, "Retry-After was not obeyed"
        assert {got["policy"] for got in receiver.requests[:receiver.requests.index(later) + 1]} == {0}, \
            "a refused event was overtaken"

        # Four are acknowledged, the fifth is in flight: the broker is killed.
        async with asyncio.timeout(30):
            await held.wait()
        assert receiver.accepted() == [0, 1, 2, 3]
        await publish(session, broker, 6, 7)
        broker.kill()
        in_flight = receiver.requests[-1]
        release.set()
        await eventually(lambda: in_flight["status"], what="the answer that nobody heard")
        broker.start()
        await publish(session, broker, 8, 9)
        await is_through(session, broker)

        accepted = receiver.accepted()
        assert list(dict.fromkeys(accepted)) == list(range(10))
        again = [offset for offset in accepted if accepted.count(offset) > 1]
        assert again in ([], [4, 4]), "only what was in flight at the kill may come twice"
        attempts = [[got["attempt"] for got in receiver.of(offset)] for offset in range(10)]
        assert attempts[0] == list(range(attempts[0][0], attempts[0][0] + len(attempts[0]))), "attempts count up"
        assert attempts[0][0] > 1, "the refused connections were attempts"
        assert attempts[4][:4] == [1, 2, 3, 4] and attempts[4][4:] in ([4], [5]), "the count survived the kill"
        assert all(attempts[offset] == [1] for offset in (1, 2, 3, 5, 6, 7, 8, 9))
        are_what_was_published(receiver, secret)

        for policy in range(10):
            # The news of the endpoint that failed have offsets too.
            path = f"{broker.url}/v1/events/{receiver.of(policy)[0]['offset']}/receipts"
            _, answer = await call(session, "GET", path, expect=200)
            [receipt] = answer["receipts"]
            assert (receipt["subscriber"], receipt["state"]) == ("EMS-Scheduler", "acked")
            assert receipt["attempts"] == attempts[policy][-1] and receipt["time"]
    broker.stop()
    verify(broker.data)


async def test_secrets_are_nowhere_but_in_the_requests(brokers, receiver):
    broker = brokers("data", environment={"STENTOR_LOG": "trace"}).start()
    receiver.answer = lambda got: 200 if got["attempt"] > 2 else 500
    answers = []
    async with scheduler(broker, receiver) as (session, connector):
        secret = connector["secret"]
        await publish(session, broker, 0, 1)
        await eventually(lambda: shown(session, broker), what="it is shown while nobody listens")
        await receiver.open()
        await is_through(session, broker)
        for path in ("/v1/connectors/EMS-Scheduler", "/v1/connectors", "/v1/subscribers", "/v1/receipts", "/metrics",
                     "/v1/events/0/receipts", "/v1/export"):
            async with session.get(broker.url + path) as answer:
                assert answer.status == 200, path
                answers.append((path, await answer.read()))
        # Made again: the secret is told once only.
        again = {"url": receiver.url, "channels": ["policy.approved"], "retry": RETRY}
        async with session.put(f"{broker.url}/v1/connectors/EMS-Scheduler", json=again) as answer:
            assert answer.status == 200
            answers.append(("PUT", await answer.read()))
        await publish(session, broker, 2)
        await is_through(session, broker)
        are_what_was_published(receiver, secret)
    broker.stop()
    broker.log.flush()
    files = [path for path in broker.data.rglob("*") if path.is_file()] + [broker.data.parent / "data.log"]
    assert (broker.data.parent / "data.log").stat().st_size > 0
    planted = {"the secret": secret.removeprefix("whsec_").encode(), "the authorization": b"abc123",
               "the signing key": base64.b64decode(secret.removeprefix("whsec_"))}
    for where, content in [*answers, *((path, path.read_bytes()) for path in files)]:
        for what, text in planted.items():
            assert text not in content, f"{what} is in {where}"


async def test_an_endpoint_that_is_gone_pauses_its_connector_and_loses_nothing(broker, receiver):
    gone = True
    receiver.answer = lambda got: 410 if gone and got["policy"] == 1 else 200
    await receiver.open()
    async with scheduler(broker, receiver) as (session, _):
        await publish(session, broker, 0, 1, 2)

        async def is_paused():
            return (await shown(session, broker))["state"] == "paused"
        await eventually(is_paused, what="410 pauses")
        broker.kill()
        broker.start()
        paused = await shown(session, broker)
        assert (paused["state"], paused["cursor"], paused["lag"]) == ("paused", 1, 2)
        assert receiver.statuses(1) == [410], "a paused connector is not called"
        gone = False
        await call(session, "POST", f"{broker.url}/v1/connectors/EMS-Scheduler/resume", expect=204)
        assert (await is_through(session, broker))["state"] == "active"
        assert receiver.accepted() == [0, 1, 2]
        assert [got["attempt"] for got in receiver.of(1)] == [1, 2]


@pytest.mark.parametrize("end", ["stopped", "killed"])
async def test_a_paused_connector_goes_on_from_its_cursor_also_over_a_restart(broker, receiver, end):
    held, release = asyncio.Event(), asyncio.Event()

    async def hold_the_second(got):
        if got["policy"] == 1:
            held.set()
            async with asyncio.timeout(30):
                await release.wait()
        return 200

    receiver.answer = hold_the_second
    await receiver.open()
    async with scheduler(broker, receiver) as (session, connector):
        await publish(session, broker, 0, 1, 2)
        async with asyncio.timeout(30):
            await held.wait()
        await call(session, "POST", f"{broker.url}/v1/connectors/EMS-Scheduler/pause", expect=204)
        release.set()

        # What was in flight when it was paused is finished, and counts.
        async def is_settled():
            now = await shown(session, broker)
            return now["cursor"] == 2 and now
        paused = await eventually(is_settled, what="the answer that was under way counts")
        assert (paused["state"], paused["lag"]) == ("paused", 1)
        if end == "stopped":
            broker.stop()
        else:
            broker.kill()
        broker.start()
        await publish(session, broker, 3)
        paused = await shown(session, broker)
        assert (paused["state"], paused["cursor"], paused["lag"]) == ("paused", 2, 2)
        assert receiver.accepted() == [0, 1]
        await call(session, "POST", f"{broker.url}/v1/connectors/EMS-Scheduler/resume", expect=204)
        await is_through(session, broker)
        assert receiver.accepted() == [0, 1, 2, 3]
        are_what_was_published(receiver, connector["secret"])


async def test_a_policy_that_is_refused_twice_is_a_dead_letter_and_the_next_one_goes(broker, receiver):
    receiver.answer = lambda got: 422 if got["policy"] == 1 else 200
    await receiver.open()
    async with scheduler(broker, receiver, retry={**RETRY, "give_up_after": 2}) as (session, _):
        await publish(session, broker, 0, 1, 2)
        await is_through(session, broker)
        assert receiver.accepted() == [0, 2]
        assert [got["attempt"] for got in receiver.of(1)] == [1, 2]

        async def of_the_dead_letter():
            _, of_event = await call(session, "GET", f"{broker.url}/v1/events/1/receipts", expect=200)
            query = {"subscriber": "EMS-Scheduler", "offset": "1"}
            _, listed = await call(session, "GET", f"{broker.url}/v1/receipts", params=query, expect=200)
            return of_event["receipts"], listed["receipts"]
        before = await of_the_dead_letter()
        [[of_event], [receipt]] = before
        assert (of_event["state"], of_event["attempts"]) == ("dead", 2)
        assert (receipt["outcome"], receipt["attempts"], receipt["status"]) == ("dead", 2, 422)
        assert (receipt["from"], receipt["to"]) == (1, 2) and receipt["reason"]
        await call(session, "GET", f"{broker.url}/v1/events/1", expect=200)
        broker.kill()
        broker.start()
        assert await of_the_dead_letter() == before
        await publish(session, broker, 3)
        await is_through(session, broker)
        assert receiver.accepted() == [0, 2, 3], "what was given up stays given up"
    broker.stop()
    verify(broker.data)


@pytest.mark.parametrize("in_flight", [1, 3])
async def test_an_event_that_failed_before_a_restart_neither_hides_nor_blocks_those_before_it(
        broker, receiver, in_flight):
    """Three are under way; the last fails, and the broker is killed before the others are answered."""
    restarted = False
    held, release = asyncio.Queue(), asyncio.Event()

    async def hold_the_first_two(got):
        if restarted:
            return 200
        if got["policy"] == 2:
            return 500
        held.put_nowait(got["policy"])
        async with asyncio.timeout(30):
            await release.wait()
        return 500

    receiver.answer = hold_the_first_two
    await receiver.open()
    slow_retry = {"initial": "1s", "max": "1s"}
    async with scheduler(broker, receiver, in_flight=3, retry=slow_retry) as (session, _):
        # Large, so that they are read one after another.
        for number in range(3):
            await call(session, "POST", f"{broker.url}/v1/events/policy.approved", expect=201,
                       json={"policy": number, "text": "x" * 1_000_000})
        async with asyncio.timeout(30):
            assert {await held.get(), await held.get()} == {0, 1}

        async def has_failed():
            _, answer = await call(session, "GET", f"{broker.url}/v1/events/2/receipts", expect=200)
            return answer["receipts"][0].get("attempts") == 1
        await eventually(has_failed, what="the failure of event 2 is on record")
        await call(session, "POST", f"{broker.url}/v1/connectors/EMS-Scheduler/pause", expect=204)
        broker.kill()
        release.set()
        await eventually(lambda: all(got["status"] for got in receiver.requests), what="the answers nobody heard")
        restarted = True
        broker.start()
        settings = {"url": receiver.url, "channels": ["policy.approved"], "retry": slow_retry, "in_flight": in_flight}
        await call(session, "PUT", f"{broker.url}/v1/connectors/EMS-Scheduler", json=settings, expect=200)
        await call(session, "POST", f"{broker.url}/v1/connectors/EMS-Scheduler/resume", expect=204)
        await is_through(session, broker, within=10)
        assert sorted(receiver.accepted()) == [0, 1, 2], "the cursor passed an event that was never accepted"
