"""PROTOCOL.md section 5, `ack`, and section 4, promise 2, as it shows here."""

from harness import eventually
from talking import listen, publish, start, subscriber


async def test_an_ack_covers_everything_up_to_its_offset(broker):
    await publish(broker, 5)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 5)
        assert await client.acked(offset=2) == 3
        assert await client.acked(offset=0) == 3, "below the cursor it changes nothing"
        assert await client.acked(offset="3") == 4, "an offset may be a string"
    async with listen(broker, subscriber="ui") as client:
        assert (await client.expect("subscribed"))["cursor"] == 4
        frame = await client.expect("event")
        assert (frame["offset"], frame["attempt"]) == (4, 2)


async def test_an_ack_without_confirm_holds_and_is_not_answered(broker):
    await publish(broker, 3)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 3)
        for ack in ({"offset": 0}, {"offsets": [1]}, {"offset": 0, "confirm": False}):
            await client.say("ack", **ack)
        await client.alive()
        await client.silent()

        async def passed():
            return (await subscriber(broker, "ui"))["cursor"] == 2
        await eventually(passed, what="the cursor moves")


async def test_an_ack_may_name_any_offset_up_to_the_highest_delivered_matching_or_not(broker):
    await publish(broker, 1)
    await publish(broker, 2, channel="other")
    await publish(broker, 1)
    await publish(broker, 1, channel="other")
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        assert await start(client, 2) == [0, 3]
        await client.say("ack", offset=4)
        await client.refused("ack-beyond-delivered")
        assert await client.acked(offset=1) == 3, "the lowest matching offset that is not acknowledged"
        assert await client.acked(offset=3) == 5


async def test_an_ack_may_name_an_offset_that_was_told_as_a_gap(halved):
    async with listen(halved, subscriber="late", window=1) as client:
        await client.expect("subscribed")
        assert await client.frame() == {"op": "gap", "from": 0, "to": 4}
        assert await client.events(1) == [4]
        assert await client.acked(offset=2) == 4
        assert await client.acked(offset=3) == 4
        await client.say("ack", offset=5)
        await client.refused("ack-beyond-delivered")
        assert await client.acked(offset=4) == 5


async def test_an_ack_of_offsets_is_for_only_these(broker):
    await publish(broker, 5)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 5)
        assert await client.acked(offsets=[1, 3]) == 0
        shown = await subscriber(broker, "ui")
        assert (shown["cursor"], shown["lag"], shown["open"]) == (0, 3, 3)
    async with listen(broker, subscriber="ui") as client:
        await client.expect("subscribed")
        assert await client.events(3) == [0, 2, 4]
        await client.expect("caught_up")
        assert await client.acked(offsets=[0]) == 2, "the cursor passes what was acknowledged before"
        assert await client.acked(offsets=[4, 2]) == 5


async def test_acked_comes_once_the_ack_is_durable(broker):
    await publish(broker, 4)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 4)
        assert await client.acked(offset=1) == 2
        assert await client.acked(offsets=[3]) == 2
        broker.kill()
    broker.start()
    shown = await subscriber(broker, "ui")
    assert (shown["cursor"], shown["lag"]) == (2, 1)
    async with listen(broker, subscriber="ui") as client:
        assert (await client.expect("subscribed"))["cursor"] == 2
        assert await client.events(1) == [2]
        assert await client.frame() == {"op": "caught_up", "end": 4}


async def test_what_was_acknowledged_before_is_durable_when_it_is_confirmed_later(broker):
    """Acks are written down together every so often; a confirmation that comes just then waits for them."""
    await publish(broker, 1_500)
    async with listen(broker, channels="key.*", subscriber="ui", window=2_000, **{"from": "earliest"}) as client:
        await start(client, 1_500)
        for offset in range(1_500):
            await client.say("ack", offset=offset)
            for _ in range(offset % 20):
                await client.alive()
            assert await client.acked(offset=offset) == offset + 1


async def test_events_that_do_not_match_count_as_done(broker):
    await publish(broker, 2)
    await publish(broker, 3, channel="other")
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 2)
        assert await client.acked(offset=1) == 5, "nothing is left that matches: the end"


async def test_an_ack_beyond_the_highest_delivered_is_refused_and_the_connection_stays_open(broker):
    await publish(broker, 3)
    async with listen(broker, channels="key.*", subscriber="ui", window=2, **{"from": "earliest"}) as client:
        await client.expect("subscribed")
        assert await client.events(2) == [0, 1]
        for beyond in ({"offset": 2}, {"offset": 99}, {"offset": 2**64 - 1}, {"offsets": [0, 2]}):
            await client.say("ack", **beyond)
            await client.refused()
            assert (await subscriber(broker, "ui"))["cursor"] == 0, "none of them is done"
        assert await client.acked(offset=1) == 2


async def test_an_ack_without_a_durable_subscription_is_an_error_and_the_connection_stays_open(broker):
    await publish(broker, 1)
    async with listen(broker) as client:
        await client.say("ack", offset=0)
        await client.refused()
    async with listen(broker, channels="**", **{"from": "earliest"}) as client:
        await client.expect("subscribed")
        await client.events(1)
        await client.expect("caught_up")
        for op in ("ack", "nack", "reject", "working"):
            await client.say(op, offset=0)
            await client.refused()
