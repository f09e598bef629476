"""A broker that ends: what is under way is answered, what comes too late is refused as draining, nothing is between.

Invariants 1, 3, 4, 18 and 21; PROTOCOL.md section 9, status 503."""

import asyncio
import json
import pathlib
import signal

import pytest
import pytest_asyncio

from connecting import connect, publish as publish_policies
from endpoint import endpoint
from faults import Fault
from harness import eventually, exported, http, verify
from under_way import UnderWay

FIRST_SEGMENT = "00000000000000000000.seg"
LATE = 40


def publish(broker, id):
    body = json.dumps([{"channel": "end.near", "id": id, "data": 1}]).encode()
    return UnderWay(broker, "POST", "/v1/events", body)


async def taken(broker):
    """Connections are taken in their order: with this one answered, all before it are the broker's."""
    status, _ = await (await UnderWay(broker, "GET", "/health/live").begin()).finish()
    assert status == 200


async def deaf(broker):
    """Nobody new is heard."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        # It stood in the queue of a listener that was just then closed.
        return False
    writer.close()
    return False


async def drains(broker):
    broker.process.send_signal(signal.SIGTERM)
    await eventually(lambda: deaf(broker), what="nothing new is taken")


async def test_a_request_that_is_under_way_when_the_broker_ends_is_answered_and_kept(broker):
    under_way = await publish(broker, "half-sent").begin()
    health = await UnderWay(broker, "GET", "/health/ready").begin()
    await taken(broker)
    await drains(broker)
    status, problem = await health.finish()
    assert (status, problem["type"], problem["detail"]) == (503, "/problems/not-ready", "draining")
    status, answer = await under_way.finish()
    assert (status, answer["first_offset"]) == (201, 0), answer
    assert await asyncio.to_thread(broker.process.wait, 30) == 0
    verify(broker.data)
    broker.start()
    async with http() as session:
        assert [event["id"] for event in await exported(session, broker)] == ["half-sent"]


async def test_a_publish_that_comes_when_the_log_is_closed_is_refused_as_draining_and_is_nowhere(brokers, tmp_path):
    broker = brokers(environment={"STENTOR_DRAIN": "1s"})
    # The second sync takes so long that the drain time is over before it is.
    segment = broker.data / "events" / FIRST_SEGMENT
    broker.prefix = Fault(tmp_path / "trace", "fdatasync", "delay_enter=4000000:when=2", [segment]).prefix
    broker.start()
    answers = {}

    async def finish(id, under_way):
        answers[id] = (None, None)
        answers[id] = await under_way.finish()

    slow = await publish(broker, "slow").begin()
    late = {f"late-{n}": await publish(broker, f"late-{n}").begin() for n in range(LATE)}
    await finish("before", await publish(broker, "before").begin())
    await taken(broker)
    async with asyncio.TaskGroup() as group:
        group.create_task(finish("slow", slow))
        await drains(broker)

        def one_is_refused():
            if late:
                group.create_task(finish(*late.popitem()))
            return any(status == 503 for status, _ in answers.values())

        await eventually(one_is_refused, every=0.1, what="a publish comes when the log is closed")
    for under_way in late.values():
        under_way.writer.close()
    # That it took longer than it may is said.
    assert await asyncio.to_thread(broker.process.wait, 30) == 1
    broker.prefix = []
    broker.start()
    async with http() as session:
        kept = {event["id"] for event in await exported(session, broker)}
    for id, (status, problem) in answers.items():
        assert status in (201, 503, None), f"{id}: {status} {problem}"
        if status == 503:
            assert problem["type"] == "/problems/draining", problem
            assert id not in kept, f"{id} was refused, and is there"
        if status == 201:
            assert id in kept, f"{id} was acknowledged, and is gone"
    broker.stop()
    verify(broker.data)


async def test_an_end_in_order_complains_of_nothing_also_while_the_next_segment_is_being_filled(brokers):
    """It warned that the segment could not be filled, because it had told itself to stop."""
    broker = brokers(environment={"STENTOR_SEGMENTS_EVENTS": "64MiB"}).start()
    await (await publish(broker, "the first").begin()).finish()
    await asyncio.to_thread(broker.stop)
    assert pathlib.Path(broker.log.name).read_text() == ""


class Holding:
    """An answer that waits until it is released."""

    def __init__(self):
        self.came, self.released = asyncio.Event(), asyncio.Event()

    async def __call__(self, event):
        self.came.set()
        async with asyncio.timeout(60):
            await self.released.wait()
        return 200


@pytest.fixture
def holding():
    return Holding()


@pytest_asyncio.fixture
async def held_up(brokers, holding):
    """A broker whose first event is with an endpoint that does not answer yet."""
    broker = brokers(environment={"STENTOR_DRAIN": "4s"}).start()
    async with endpoint(lambda event: holding(event)) as receiver:
        async with http() as session:
            await connect(session, broker, receiver)
            await publish_policies(session, broker, "a")
        async with asyncio.timeout(30):
            await holding.came.wait()
        yield broker, receiver
        broker.stop()


async def test_an_attempt_that_is_answered_while_the_broker_ends_counts_and_is_not_repeated(held_up, holding):
    broker, receiver = held_up
    await drains(broker)
    holding.released.set()
    assert await asyncio.to_thread(broker.process.wait, 30) == 0
    broker.start()
    async with http() as session:
        await publish_policies(session, broker, "b")
        await eventually(lambda: receiver.accepted == [0, 1], what="the next one")
    assert receiver.attempts == [0, 1]


async def test_an_endpoint_that_does_not_answer_keeps_no_broker_from_ending_well_and_is_called_again(held_up, holding):
    """Its time limit is 30 s. The broker waited for it beyond its own, ended with status 1 and left its logs open."""
    broker, receiver = held_up
    await drains(broker)
    assert await asyncio.to_thread(broker.process.wait, 30) == 0
    verify(broker.data)
    assert not receiver.accepted
    holding.released.set()
    broker.start()
    await eventually(lambda: receiver.accepted[-1:] == [0] and len(receiver.requests) == 2, what="it is called again")
    assert [got.attempt for got in receiver.requests] == [1, 1], "what nobody answered was no failure"
