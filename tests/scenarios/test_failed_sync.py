"""A failed sync is final: nothing more is acknowledged by that process, nothing that was is lost, and it is said.

Invariants 1 to 4, 10, 12, 16 and 26; PROTOCOL.md section 9, status 503."""

import asyncio
import json

import aiohttp

from endpoint import endpoint
from faults import Fault
from harness import call, eventually, exported, http, never, refused, verify
from listening import listening

FIRST_SEGMENT = "00000000000000000000.seg"
WAITERS = 8


def fails(broker, tmp_path, log, when):
    """The `when`-th sync of this log's first segment by its committing thread will fail."""
    fault = Fault(tmp_path / "trace", "fdatasync", f"error=EIO:when={when}", [broker.data / log / FIRST_SEGMENT])
    broker.prefix = fault.prefix
    return fault


async def publish(session, broker, id, **arguments):
    url = f"{broker.url}/v1/events/sync.tried"
    return await call(session, "POST", url, json={"of": id}, headers={"idempotency-key": id}, **arguments)


async def outcome_is_unknown(session, broker, id):
    await refused(session, "POST", f"{broker.url}/v1/events/sync.tried", 503, "outcome-unknown", json={"of": id},
                  headers={"idempotency-key": id})


async def not_ready(session, broker, what):
    async def is_so():
        status, problem = await call(session, "GET", f"{broker.url}/health/ready")
        return status == 503 and problem
    # The failed call is seen from outside a moment before the broker knows of it.
    problem = await eventually(is_so, what=f"no {what} are taken")
    assert problem["type"].endswith("/not-ready"), problem
    assert problem["detail"].startswith(f"{what}: "), problem
    await call(session, "GET", f"{broker.url}/health/live", expect=200)


async def subscribe(session, broker, name):
    await call(session, "PUT", f"{broker.url}/v1/subscribers/{name}", expect=201,
               json={"channels": ["sync.*"], "from": "earliest"})


async def connect(session, broker, name, url):
    await call(session, "PUT", f"{broker.url}/v1/connectors/{name}", expect=201,
               json={"url": url, "channels": ["sync.*"], "from": "earliest"})


async def test_after_a_failed_sync_publishes_are_unknown_reads_go_on_and_a_retry_gives_one_event(brokers, tmp_path):
    broker = brokers()
    fault = fails(broker, tmp_path, "events", when=3)
    broker.start()
    ids = [f"waiter-{n}" for n in range(WAITERS)]
    async with http() as session, endpoint() as receiver:
        await subscribe(session, broker, "listener")
        for offset, id in enumerate(("first", "second")):
            _, answer = await publish(session, broker, id, expect=201)
            assert answer["offset"] == offset
        async with listening(session, broker, subscriber="listener") as listener:
            await asyncio.gather(*(outcome_is_unknown(session, broker, id) for id in ids))
            assert fault.hits() == 1, "the fault did not strike once"
            # Nothing is tried again, whoever asks.
            await outcome_is_unknown(session, broker, "later")
            await refused(session, "POST", f"{broker.url}/v1/events", 503, "outcome-unknown",
                          json=[{"channel": "sync.tried", "data": 1, "id": "in-a-batch"}])
            await listener.socket.send_json({"op": "publish", "ref": "1", "channel": "sync.tried", "data": 1})
            told = [await listener.frame() for _ in range(4)]
            assert [frame["offset"] for frame in told if frame["op"] == "event"] == [0, 1], told
            errors = [(frame["code"], frame["ref"]) for frame in told if frame["op"] == "error"]
            assert errors == [("outcome-unknown", "1")], told
            assert await listener.ack(1) == 2, "the other log takes acks"
        await not_ready(session, broker, "publishes")
        assert [event["id"] for event in await exported(session, broker)] == ["first", "second"]
        await connect(session, broker, "receiver", receiver.url)
        await eventually(lambda: receiver.accepted == [0, 1], what="what is committed is delivered")
        await refused(session, "GET", f"{broker.url}/v1/events/2", 404, "event-not-found")
    broker.stop()
    verify(broker.data)
    broker.prefix = []
    broker.start()
    async with http() as session:
        kept = [event["id"] for event in await exported(session, broker)]
        assert kept[:2] == ["first", "second"] and set(kept[2:]) <= {*ids, "later", "in-a-batch"}, kept
        for id in ["first", "second", *ids]:
            status, answer = await publish(session, broker, id)
            assert status == (200 if id in kept else 201), answer
            again = await publish(session, broker, id, expect=200)
            assert (again[1]["offset"], again[1]["duplicate"]) == (answer["offset"], True)
        events = [event["id"] for event in await exported(session, broker)]
        assert sorted(events) == sorted({*events, "first", "second", *ids}), "an event is there twice, or not at all"
        _, shown = await call(session, "GET", f"{broker.url}/v1/subscribers/listener", expect=200)
        assert shown["cursor"] == 2
    broker.stop()
    verify(broker.data)


async def test_with_the_ledger_poisoned_durable_sessions_end_and_publishes_and_anonymous_reads_go_on(
        brokers, tmp_path):
    broker = brokers().start()
    async with http() as session, endpoint() as receiver:
        await subscribe(session, broker, "listener")
        await connect(session, broker, "receiver", receiver.url)
        await publish(session, broker, "first", expect=201)
        await eventually(lambda: receiver.accepted == [0], what="the endpoint has the first event")
    broker.stop()
    fault = fails(broker, tmp_path, "ledger", when=1)
    broker.start()
    async with http() as session, listening(session, broker, channels="sync.*", **{"from": "earliest"}) as anonymous:
        async with listening(session, broker, subscriber="listener") as listener:
            assert (await listener.event())["offset"] == 0
            await listener.socket.send_json({"op": "ack", "offset": 0, "confirm": True})
            async with asyncio.timeout(30):
                last = [message async for message in listener.socket if message.type is aiohttp.WSMsgType.TEXT]
            told = [json.loads(message.data)["op"] for message in last]
            assert "acked" not in told, "an ack was confirmed that is not durable"
            assert not 4500 <= listener.socket.close_code < 5000, "who was closed may not come back"
        assert fault.hits() == 1, "the fault did not strike once"
        await refused(session, "PUT", f"{broker.url}/v1/subscribers/other", 503, "outcome-unknown",
                      json={"channels": ["**"]})
        async with session.ws_connect(broker.ws, params={"subscriber": "listener"}) as socket:
            frame = json.loads((await socket.receive(timeout=30)).data)
            assert (frame["op"], frame["code"]) == ("error", "outcome-unknown"), frame
        await publish(session, broker, "second", expect=201)
        assert [(await anonymous.event())["id"] for _ in range(2)] == ["first", "second"]
        assert len(await exported(session, broker)) == 2
        await not_ready(session, broker, "acks")
    broker.stop()
    verify(broker.data)
    broker.prefix = []
    broker.start()
    async with http() as session:
        async with listening(session, broker, subscriber="listener") as listener:
            assert listener.subscribed["cursor"] in (0, 1), "an ack without an answer is there or not, nothing else"
            events = await listener.events(2 - listener.subscribed["cursor"])
            assert events[-1]["id"] == "second"
            assert await listener.ack(1) == 2
        await refused(session, "GET", f"{broker.url}/v1/subscribers/other", 404, "subscriber-not-found")
    broker.stop()
    verify(broker.data)


async def test_a_session_whose_ack_meets_a_ledger_that_is_poisoned_already_ends_instead_of_going_on_without_it(
        brokers, tmp_path):
    broker = brokers().start()
    async with http() as session:
        await subscribe(session, broker, "listener")
        await publish(session, broker, "first", expect=201)
    broker.stop()
    fault = fails(broker, tmp_path, "ledger", when=1)
    broker.start()
    async with http() as session, listening(session, broker, subscriber="listener") as listener:
        assert (await listener.event())["offset"] == 0
        await refused(session, "PUT", f"{broker.url}/v1/subscribers/other", 503, "outcome-unknown",
                      json={"channels": ["**"]})
        assert fault.hits() == 1, "the fault did not strike once"
        await listener.socket.send_json({"op": "ack", "offset": 0, "confirm": True})
        async with asyncio.timeout(5):
            told = [json.loads(message.data)["op"] async for message in listener.socket]
        assert "acked" not in told, "an ack was confirmed that is not durable"
        assert listener.socket.close_code == 1011, "who was closed may not come back"


async def test_with_the_ledger_poisoned_a_connector_sends_what_was_in_flight_at_most_and_goes_on_after_a_restart(
        brokers, tmp_path):
    broker = brokers().start()
    async with endpoint() as receiver:
        async with http() as session:
            await connect(session, broker, "receiver", receiver.url)
            await publish(session, broker, "first", expect=201)
            await eventually(lambda: receiver.accepted == [0], what="the endpoint has the first event")
        broker.stop()
        fault = fails(broker, tmp_path, "ledger", when=1)
        broker.start()
        async with http() as session:
            for id in ("second", "third"):
                await publish(session, broker, id, expect=201)
            await eventually(lambda: fault.hits() == 1, what="the ledger's sync failed")
            await not_ready(session, broker, "acks")
            for id in ("fourth", "fifth"):
                await publish(session, broker, id, expect=201)
            _, shown = await call(session, "GET", f"{broker.url}/v1/connectors/receiver", expect=200)
            assert shown["cursor"] == 1, f"it went on without a record: {shown}"
            # A worker that has met a fault looks again after a second.
            await never(lambda: receiver.attempts.count(1) > 1, within=3,
                        what="with nothing to write it down in, the event was sent again")
        broker.stop()
        # The answer for the second could not be written down: that one may come again, and nothing behind it went.
        sent = list(receiver.attempts)
        broker.prefix = []
        broker.start()
        await eventually(lambda: receiver.accepted[-1] == 4, what="the endpoint has everything")
    assert set(sent) == {0, 1}, f"without a ledger more than what was in flight was sent: {sent}"
    assert receiver.accepted[len(sent):] in ([1, 2, 3, 4], [2, 3, 4])
    broker.stop()
    verify(broker.data)
