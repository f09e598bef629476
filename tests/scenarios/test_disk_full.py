"""A full disk refuses publishes and nothing else, keeps nothing of what it refused, and heals by itself.

Invariants 1, 3, 11 and 26; PROTOCOL.md section 9, status 507."""

import json

import aiohttp
import pytest

from endpoint import endpoint
from harness import call, eventually, exported, http, refused, verify
from listening import listening
from small_disk import small_disk

# Nothing is held back: the disk itself has to be full.
SEGMENTS = {"STENTOR_SEGMENTS_EVENTS": "1MiB", "STENTOR_SEGMENTS_LEDGER": "256KiB", "STENTOR_DISK_RESERVE": "0"}
LARGE = "x" * 50_000
# Segments that were filled with zeros ahead take this much at most, and then some.
ENOUGH = 100


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", "12m") as made:
        yield made


@pytest.fixture
def broker(brokers, disk):
    return brokers("disk", environment=SEGMENTS, prefix=disk.prefix).start()


def entry(id):
    return {"channel": "disk.filled", "id": id, "data": {"of": id, "pad": LARGE}}


async def publish(session, broker, id, **arguments):
    headers = {"idempotency-key": id}
    url = f"{broker.url}/v1/events/disk.filled"
    return await call(session, "POST", url, json=entry(id)["data"], headers=headers, **arguments)


async def publish_until_full(session, broker, acknowledged):
    """Publishes one by one until the first that is refused; gives its id."""
    for n in range(ENOUGH):
        status, answer = await publish(session, broker, f"single-{n}")
        if status == 507:
            return f"single-{n}"
        assert status == 201, answer
        acknowledged[f"single-{n}"] = answer["offset"]
    raise AssertionError("the disk never was full")


async def refuse_everything(session, broker, single):
    """Each way to publish, refused; gives the ids that must be nowhere."""
    url = f"{broker.url}/v1/events"
    problem = await refused(session, "POST", f"{url}/disk.filled", 507, "disk-full", json=entry(single)["data"],
                            headers={"idempotency-key": single})
    assert "nothing was written" in problem["detail"]
    batch = [entry(f"batch-{n}") for n in range(5)]
    await refused(session, "POST", url, 507, "disk-full", json=batch)
    async with session.ws_connect(broker.ws) as socket:
        for ref, frame in (("one", entry("frame")), ("many", {"events": [entry("frames-0"), entry("frames-1")]})):
            await socket.send_json({"op": "publish", "ref": ref, **frame})
            told = json.loads((await socket.receive(timeout=30)).data)
            assert (told["op"], told["code"], told["ref"]) == ("error", "disk-full", ref), told
            assert told["detail"]
    return {single, "frame", "frames-0", "frames-1", *(event["id"] for event in batch)}


def ids(events):
    return {event["id"]: event["offset"] for event in events}


def same_as_published(events):
    return all(event["data"] == entry(event["id"])["data"] for event in events)


async def unready(session, broker):
    """Health says it, and what lives goes on living."""
    problem = await refused(session, "GET", f"{broker.url}/health/ready", 503, "not-ready")
    assert "publishes: the disk is full" in problem["detail"]
    await call(session, "GET", f"{broker.url}/health/live", expect=200)
    async with session.get(f"{broker.url}/metrics") as answer:
        assert "stentor_read_only 1" in (await answer.text()).splitlines()


async def heal(session, broker, disk, id):
    """Publishing resumes by itself within 5 s of space returning."""
    disk.free()

    async def taken():
        status, answer = await publish(session, broker, id)
        assert status in (201, 507), answer
        return status == 201 and answer

    answer = await eventually(taken, within=5, what="publishes are taken again")
    await call(session, "GET", f"{broker.url}/health/ready", expect=200)
    return answer["offset"]


async def test_a_full_disk_refuses_publishes_keeps_nothing_of_them_and_takes_them_again_when_there_is_space(
        broker, disk):
    acknowledged = {}
    async with http() as session:
        disk.fill()
        first = await publish_until_full(session, broker, acknowledged)
        refusals = await refuse_everything(session, broker, first)
        await unready(session, broker)
        events = await exported(session, broker)
        assert ids(events) == acknowledged, "while full there is more or less than was acknowledged"
        assert same_as_published(events)
        acknowledged[first] = await heal(session, broker, disk, first)
        refusals.remove(first)
        status, answer = await call(session, "POST", f"{broker.url}/v1/events", json=[entry("batch-0"), entry("b")])
        assert (status, answer["duplicates"]) == (201, 0), "a refused id stayed behind"
        acknowledged.update({"batch-0": answer["first_offset"], "b": answer["last_offset"]})
        refusals.remove("batch-0")
    broker.stop()
    verify(disk.inside)
    broker.start()
    async with http() as session:
        events = await exported(session, broker)
    assert ids(events) == acknowledged and same_as_published(events)
    assert not refusals & ids(events).keys(), "a refused publish is in the log"


async def test_a_process_that_is_killed_while_the_disk_is_full_starts_on_the_full_disk_and_has_what_it_acknowledged(
        broker, disk):
    acknowledged = {}
    async with http() as session:
        disk.fill()
        first = await publish_until_full(session, broker, acknowledged)
        await refuse_everything(session, broker, first)
    broker.kill()
    disk.fill()
    broker.start()
    async with http() as session:
        events = await exported(session, broker)
        assert ids(events) == acknowledged and same_as_published(events)
        await refused(session, "POST", f"{broker.url}/v1/events", 507, "disk-full",
                      json=[entry(f"batch-{n}") for n in range(40)])
        await heal(session, broker, disk, first)
    broker.stop()
    verify(disk.inside)


async def test_deliveries_and_acks_go_on_while_the_disk_is_full(broker, disk):
    """A listener and an endpoint that come only then get everything, and their acks are durable."""
    acknowledged = {}
    async with http() as session, endpoint() as receiver:
        for name in ("listener", "later"):
            await call(session, "PUT", f"{broker.url}/v1/subscribers/{name}", expect=201,
                       json={"channels": ["disk.*"], "from": "earliest"})
        await call(session, "PUT", f"{broker.url}/v1/connectors/receiver", expect=201,
                   json={"url": receiver.url, "channels": ["disk.*"], "from": "earliest"})
        await call(session, "POST", f"{broker.url}/v1/connectors/receiver/pause", expect=204)
        disk.fill()
        first = await publish_until_full(session, broker, acknowledged)
        everything = sorted(acknowledged.values())
        async with listening(session, broker, subscriber="listener") as listener:
            got = [event["offset"] for event in await listener.events(len(everything))]
            assert got == everything
            for offset in got:
                assert await listener.ack(offset) == offset + 1
        await call(session, "POST", f"{broker.url}/v1/connectors/receiver/resume", expect=204)

        async def through():
            _, shown = await call(session, "GET", f"{broker.url}/v1/connectors/receiver", expect=200)
            return shown["lag"] == 0

        await eventually(through, what="the endpoint has everything")
        assert receiver.accepted == everything
        await refused(session, "POST", f"{broker.url}/v1/events/disk.filled", 507, "disk-full", json=LARGE)
    broker.kill()
    broker.start()
    async with http() as session:
        for kind, name in (("subscribers", "listener"), ("connectors", "receiver")):
            _, shown = await call(session, "GET", f"{broker.url}/v1/{kind}/{name}", expect=200)
            assert shown["cursor"] == everything[-1] + 1, f"an ack from the full disk is lost: {shown}"
        _, shown = await call(session, "GET", f"{broker.url}/v1/subscribers/later", expect=200)
        assert (shown["cursor"], shown["lag"]) == (everything[0], len(everything))
        await heal(session, broker, disk, first)
    broker.stop()
    verify(disk.inside)


async def test_a_batch_that_meets_the_end_of_the_disk_half_written_is_wholly_absent(broker, disk):
    async with http() as session:
        await publish(session, broker, "before", expect=201)
        ahead = disk.inside / "events" / "next.tmp"
        await eventually(lambda: ahead.exists() and ahead.stat().st_size == 1 << 20,
                         what="the next segment is filled ahead")
        disk.fill()
        # Larger than two segments: it begins the next one, and grows it until there is no space, although the one
        # before is cut to its records.
        batch = [entry(f"batch-{n}") for n in range(60)]
        await refused(session, "POST", f"{broker.url}/v1/events", 507, "disk-full", json=batch)
        assert ids(await exported(session, broker)) == {"before": 0}
        broker.kill()
        broker.start()
        assert ids(await exported(session, broker)) == {"before": 0}
        disk.free()
        status, answer = await call(session, "POST", f"{broker.url}/v1/events", json=batch)
        assert (status, answer["first_offset"], answer["duplicates"]) == (201, 1, 0), answer
    broker.stop()
    verify(disk.inside)


async def test_an_ack_that_has_no_space_is_refused_and_can_be_given_again_when_there_is_space(brokers, disk):
    """A ledger of small segments is full soon. Whatever was told, nothing is neither acknowledged nor delivered."""
    broker = brokers("disk", environment={**SEGMENTS, "STENTOR_SEGMENTS_LEDGER": "4KiB"}, prefix=disk.prefix).start()
    count = 300
    async with http() as session:
        await call(session, "PUT", f"{broker.url}/v1/subscribers/listener", expect=201,
                   json={"channels": ["disk.*"], "from": "earliest", "window": count})
        events = [{"channel": "disk.filled", "data": n} for n in range(count)]
        await call(session, "POST", f"{broker.url}/v1/events", json=events, expect=201)
        disk.fill()
        durable = refused_at = 0
        async with listening(session, broker, subscriber="listener") as listener:
            for offset in [event["offset"] for event in await listener.events(count)]:
                await listener.socket.send_json({"op": "ack", "offset": offset, "confirm": True})
                answer = await anything_but(listener, "caught_up")
                if answer["op"] == "error":
                    assert answer["code"] == "disk-full", answer
                    refused_at = offset
                    break
                assert answer == {"op": "acked", "cursor": offset + 1}
                durable = offset + 1
            assert refused_at, "the ledger never was full"
            disk.free()
            # The session ends, or goes on and takes the ack again: but it must not swallow it.
            await eventually(lambda: acknowledges(listener, refused_at), within=5, every=0.2,
                             what="the ack is taken, or the session ends")
        async with listening(session, broker, subscriber="listener") as listener:
            cursor = listener.subscribed["cursor"]
            assert durable <= cursor
            assert [event["offset"] for event in await listener.events(count - cursor)] == list(range(cursor, count))
            assert await listener.ack(count - 1) == count
    broker.stop()
    verify(disk.inside)


async def anything_but(listener, op):
    while True:
        frame = await listener.frame()
        if frame["op"] != op:
            return frame


async def acknowledges(listener, offset):
    """Whether the ack is durable now, or the session over."""
    if listener.socket.closed:
        return True
    await listener.socket.send_json({"op": "ack", "offset": offset, "confirm": True})
    message = await listener.socket.receive(timeout=30)
    if message.type is not aiohttp.WSMsgType.TEXT:
        return True
    answer = json.loads(message.data)
    assert answer["op"] == "error" or answer["cursor"] > offset, f"the ack of {offset} was confirmed as {answer}"
    return answer["op"] == "acked"
