"""PROTOCOL.md section 4, promises 3 and 4, over section 5: windows, timeouts, attempts."""

import asyncio

from talking import listen, post, publish, start, subscriber


async def test_at_most_window_events_are_open_then_delivery_waits(broker):
    await publish(broker, 6)
    async with listen(broker, channels="key.*", subscriber="ui", window=2, **{"from": "earliest"}) as client:
        await client.expect("subscribed")
        assert await client.events(2) == [0, 1]
        await client.silent()
        assert (await subscriber(broker, "ui"))["open"] == 2
        await client.say("ack", offsets=[1])
        assert await client.events(1) == [2], "an ack of any of them makes room"
        await client.silent()
        await client.say("ack", offset=2)
        assert await client.events(2) == [3, 4]
        await client.silent()
        await client.say("reject", offset=3)
        assert await client.events(1) == [5]


async def test_the_window_is_256_where_nothing_else_is_asked_for(broker):
    await publish(broker, 300)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await client.expect("subscribed")
        assert await client.events(256) == list(range(256))
        await client.silent()
        await client.say("ack", offset=99)
        assert await client.events(44) == list(range(256, 300))
        assert await client.frame() == {"op": "caught_up", "end": 300}


async def test_when_the_oldest_open_event_has_been_open_for_ack_timeout_everything_open_from_there_on_is_delivered_again_in_order(broker):
    await publish(broker, 4)
    query = {"channels": "key.*", "subscriber": "ui", "ack_timeout": "2s", "from": "earliest"}
    async with listen(broker, **query) as client:
        began = asyncio.get_running_loop().time()
        await start(client, 4)
        await client.say("ack", offsets=[2])
        for attempt in (2, 3):
            again = [await client.expect("event") for _ in range(3)]
            assert [(event["offset"], event["attempt"]) for event in again] == [(n, attempt) for n in (0, 1, 3)]
        took = asyncio.get_running_loop().time() - began
        assert 3.9 <= took < 10, took
        assert await client.acked(offset=3) == 4
        await client.silent(2.5)


async def test_the_ack_timeout_runs_for_the_oldest_open_event_and_starts_anew_when_the_cursor_moves(broker):
    """Who works through a full window one by one is not told that the rest of it is late."""
    await publish(broker, 2)
    query = {"channels": "key.*", "subscriber": "ui", "ack_timeout": "4s", "from": "earliest"}
    async with listen(broker, **query) as client:
        await start(client, 2)
        await client.silent(3)
        await client.say("ack", offset=0)
        await client.silent(2)
        frame = await client.expect("event")
        assert (frame["offset"], frame["attempt"]) == (1, 2)


async def test_when_a_session_ends_the_next_one_begins_at_the_cursor(broker):
    await publish(broker, 3)
    for attempt in (None, 2, 3):
        async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
            assert (await client.expect("subscribed"))["cursor"] == 0
            for offset in range(3):
                frame = await client.expect("event")
                assert (frame["offset"], frame.get("attempt")) == (offset, attempt)


async def test_attempt_counts_the_sends_of_an_event_since_the_last_seek(broker):
    await publish(broker, 2)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 2)
        await client.say("nack", offset=0)
        assert (await client.expect("event"))["attempt"] == 2
    assert await post(broker, "/v1/subscribers/ui/seek", {"to": 0}) == (200, {"cursor": 0})
    async with listen(broker, subscriber="ui") as client:
        await client.expect("subscribed")
        assert "attempt" not in await client.expect("event")
