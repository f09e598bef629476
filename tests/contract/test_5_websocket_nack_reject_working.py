"""PROTOCOL.md section 5: `nack`, `reject` and `working`."""

import asyncio

from harness import call, eventually, http
from talking import listen, publish, start, subscriber


async def test_after_a_nack_everything_open_from_there_on_is_delivered_again_in_order(broker):
    await publish(broker, 4)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 4)
        await client.say("nack", offset=1)
        again = [await client.expect("event") for _ in range(3)]
        assert [(event["offset"], event["attempt"]) for event in again] == [(1, 2), (2, 2), (3, 2)]
        await client.say("nack", offset=3)
        third = await client.expect("event")
        assert (third["offset"], third["attempt"]) == (3, 3)
        assert await client.acked(offset=3) == 4


async def test_during_the_delay_of_a_nack_nothing_is_sent_and_acks_at_or_beyond_it_are_refused_until_it_is_delivered_again(broker):
    await publish(broker, 4)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 4)
        asked = asyncio.get_running_loop().time()
        await client.say("nack", offset=1, delay="1500ms")
        await publish(broker, 1)
        for late in ({"offset": 1}, {"offset": 3}, {"offsets": [2]}):
            await client.say("ack", **late)
            await client.refused()
        assert await client.acked(offset=0) == 1, "below it acks are taken"
        again = [await client.expect("event") for _ in range(4)]
        assert asyncio.get_running_loop().time() - asked >= 1.5
        assert [(event["offset"], event.get("attempt")) for event in again] == [(1, 2), (2, 2), (3, 2), (4, None)]
        assert await client.acked(offset=4) == 5


async def test_the_delay_of_a_nack_outlasts_the_ack_timeout(broker):
    await publish(broker, 2)
    query = {"channels": "key.*", "subscriber": "ui", "ack_timeout": "300ms", "from": "earliest"}
    async with listen(broker, **query) as client:
        await start(client, 2)
        asked = asyncio.get_running_loop().time()
        await client.say("nack", offset=0, delay="1500ms")
        frame = await client.expect("event")
        assert (frame["offset"], frame["attempt"]) == (0, 2)
        assert asyncio.get_running_loop().time() - asked >= 1.5


async def test_nothing_is_sent_during_the_delay_of_a_nack_though_an_older_event_times_out(broker):
    await publish(broker, 3)
    query = {"channels": "key.*", "subscriber": "ui", "ack_timeout": "300ms", "from": "earliest"}
    async with listen(broker, **query) as client:
        await start(client, 3)
        asked = asyncio.get_running_loop().time()
        await client.say("nack", offset=1, delay="1500ms")
        frame = await client.expect("event")
        assert asyncio.get_running_loop().time() - asked >= 1.5, f"sent during the delay: {frame}"


async def test_a_nack_of_what_is_not_open_is_an_error(broker):
    await publish(broker, 2)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 2)
        assert await client.acked(offset=0) == 1
        for op in ("nack", "reject", "working"):
            for offset in (0, 2):
                await client.say(op, offset=offset)
                await client.refused()


async def test_a_rejected_event_is_dead_lettered_and_the_cursor_passes_it(broker):
    await publish(broker, 3)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 3)
        await client.say("reject", offset=0, reason="not for me")
        await client.say("reject", offset=1)
        await client.alive()

        async def passed():
            return (await subscriber(broker, "ui"))["cursor"] == 2
        await eventually(passed, what="the cursor passes what was rejected")
        await client.say("reject", offset=0)
        await client.refused()
    async with http() as session:
        _, found = await call(session, "GET", broker.url + "/v1/receipts?subscriber=ui&offset=0", expect=200)
        receipt, = found["receipts"]
        assert (receipt["outcome"], receipt["reason"], receipt["attempts"]) == ("dead", "not for me", 1)
        assert (receipt["from"], receipt["to"], receipt["subscriber"]) == (0, 1, "ui")
        _, found = await call(session, "GET", broker.url + "/v1/events/1/receipts", expect=200)
        assert [(each["subscriber"], each["state"]) for each in found["receipts"]] == [("ui", "dead")]
        _, found = await call(session, "GET", broker.url + "/v1/dead-letters?subscriber=ui", expect=200)
        assert [(letter["offset"], letter["channel"], letter["attempts"]) for letter in found["dead_letters"]] == [
            (0, "key.activated", 1), (1, "key.activated", 1)]
        assert found["dead_letters"][0]["reason"] == "not for me"
    async with listen(broker, subscriber="ui") as client:
        assert (await client.expect("subscribed"))["cursor"] == 2
        assert await client.events(1) == [2]


async def test_a_rejected_event_will_never_be_wanted_and_the_cursor_passes_it_when_it_may(broker):
    await publish(broker, 3)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 3)
        await client.say("reject", offset=1)
        await client.alive()
        assert (await subscriber(broker, "ui"))["cursor"] == 0, "the one before it is open"
        await client.say("nack", offset=0)
        assert await client.events(2) == [0, 2]
        assert await client.acked(offset=0) == 2
    async with listen(broker, subscriber="ui") as client:
        await client.expect("subscribed")
        assert await client.events(1) == [2]


async def test_a_nack_of_one_subscriber_is_nothing_to_another(broker):
    await publish(broker, 2)
    query = {"channels": "key.*", "from": "earliest"}
    async with listen(broker, subscriber="one", **query) as one, listen(broker, subscriber="two", **query) as two:
        await start(one, 2)
        await start(two, 2)
        await one.say("nack", offset=0, delay="1m")
        await one.alive()
        await publish(broker, 1)
        assert await two.events(1) == [2]
        await one.silent()


async def test_a_confirmed_ack_behind_a_reject_is_answered_once_the_reject_is_durable_too(broker):
    await publish(broker, 500)
    async with listen(broker, channels="key.*", subscriber="ui", window=1_000, **{"from": "earliest"}) as client:
        await start(client, 500)
        for offset in range(500):
            await client.say("reject", offset=offset)
            assert await client.acked(offset=offset) == offset + 1


async def test_working_starts_the_ack_timeout_of_its_event_anew(broker):
    await publish(broker, 1)
    query = {"channels": "key.*", "subscriber": "ui", "ack_timeout": "2s", "from": "earliest"}
    async with listen(broker, **query) as client:
        await start(client, 1)
        for _ in range(3):
            await client.silent(1)
            await client.say("working", offset=0)
        frame = await client.expect("event")
        assert (frame["offset"], frame["attempt"]) == (0, 2)


async def test_working_on_another_event_does_not_hold_back_the_oldest(broker):
    await publish(broker, 2)
    query = {"channels": "key.*", "subscriber": "ui", "ack_timeout": "3s", "from": "earliest"}
    async with listen(broker, **query) as client:
        await start(client, 2)
        began = asyncio.get_running_loop().time()
        for _ in range(2):
            await client.silent(1)
            await client.say("working", offset=1)
        frame = await client.expect("event")
        assert (frame["offset"], frame["attempt"]) == (0, 2)
        assert asyncio.get_running_loop().time() - began < 4.5, "its own time was over"
