"""PROTOCOL.md section 5, a second `subscribe`, and section 4, promises 5 and 7: who has a subscriber, and what changes it."""

from bare_socket import bare
from harness import call, http
from sse import stream
from talking import listen, make, post, publish, start, subscriber


async def test_a_second_subscribe_of_an_anonymous_session_goes_on_from_its_present_position(broker):
    await publish(broker, 2, channel="a.x")
    async with listen(broker, channels="a.*", **{"from": "earliest"}) as client:
        await start(client, 2)
        await client.say("subscribe", channels=["a.*", "b.*"])
        assert await client.frame() == {"op": "subscribed", "channels": ["a.*", "b.*"], "cursor": 2, "end": 2}
        assert await client.frame() == {"op": "caught_up", "end": 2}
        await publish(broker, 1, channel="b.x")
        await publish(broker, 1, channel="a.x")
        assert await client.events(2) == [2, 3]
        await client.say("subscribe", channels=["b.*"])
        assert (await client.expect("subscribed"))["cursor"] == 4
        await client.expect("caught_up")
        await publish(broker, 1, channel="a.x")
        await publish(broker, 1, channel="b.x")
        assert await client.events(1) == [5]


async def test_the_present_position_is_behind_what_was_published_and_did_not_match(broker):
    async with listen(broker, channels="a.*") as client, listen(broker, channels="**") as witness:
        await start(client, 0)
        await start(witness, 0)
        await publish(broker, 3, channel="b.x")
        assert await witness.events(3) == [0, 1, 2]
        await client.say("subscribe", channels=["b.*"])
        assert await client.frame() == {"op": "subscribed", "channels": ["b.*"], "cursor": 3, "end": 3}
        assert await client.frame() == {"op": "caught_up", "end": 3}


async def test_a_second_subscribe_of_a_durable_session_changes_it_as_put_does_on_the_same_connection(broker):
    await publish(broker, 2, channel="a.x")
    await publish(broker, 2, channel="b.x")
    async with listen(broker, channels="a.*", subscriber="ui", window=9, **{"from": "earliest"}) as client:
        await start(client, 2)
        assert await client.acked(offset=0) == 1
        await client.say("subscribe", channels=["b.*"])
        assert await client.frame() == {
            "op": "subscribed", "channels": ["b.*"], "subscriber": "ui", "cursor": 2, "end": 4}
        assert await client.events(2) == [2, 3]
        assert await client.frame() == {"op": "caught_up", "end": 4}
        await client.say("subscribe", channels=["a.*", "b.*"], subscriber="ui")
        assert (await client.expect("subscribed"))["channels"] == ["a.*", "b.*"]
        assert await client.acked(offset=1) >= 2
    shown = await subscriber(broker, "ui")
    assert shown["channels"] == ["a.*", "b.*"] and shown["window"] == 9
    async with http() as session:
        _, found = await call(session, "GET", broker.url + "/v1/receipts?subscriber=ui&offset=1", expect=200)
        assert [receipt["outcome"] for receipt in found["receipts"]] == ["skipped"], "open, and no longer asked for"


async def test_new_patterns_hold_from_the_cursor_on_and_what_is_open_there_is_delivered_again(broker):
    """As after PUT: the next session begins at the cursor."""
    await publish(broker, 2, channel="a.x")
    await publish(broker, 1, channel="b.x")
    await publish(broker, 1, channel="a.x")
    async with listen(broker, channels="a.*", subscriber="ui", **{"from": "earliest"}) as client:
        assert await start(client, 3) == [0, 1, 3]
        assert await client.acked(offset=0) == 1
        await client.say("subscribe", channels=["**"], window=9)
        assert await client.frame() == {"op": "subscribed", "channels": ["**"], "subscriber": "ui", "cursor": 1, "end": 4}
        events = [await client.expect("event") for _ in range(3)]
        assert [(event["offset"], event.get("attempt")) for event in events] == [(1, 2), (2, None), (3, 2)]
        assert await client.frame() == {"op": "caught_up", "end": 4}
        assert (await subscriber(broker, "ui"))["window"] == 9
        assert await client.acked(offset=3) == 4


async def test_a_second_subscribe_ends_no_connection_and_a_bad_one_changes_nothing(broker):
    async with listen(broker, channels="a.*", subscriber="ui") as client:
        await start(client, 0)
        for n in range(3):
            await client.say("subscribe", channels=[f"a.{n}"])
            assert (await client.expect("subscribed"))["channels"] == [f"a.{n}"]
            await client.expect("caught_up")
            await client.say("subscribe", channels=["a..b"])
            await client.refused("channels-invalid")
        await publish(broker, 1, channel="a.1")
        await publish(broker, 1, channel="a.2")
        assert await client.events(1) == [1]


async def test_another_subscriber_or_from_in_a_second_subscribe_is_an_error(broker):
    await publish(broker, 1)
    async with listen(broker, channels="key.*", subscriber="ui") as client:
        await start(client, 0)
        for change in ({"subscriber": "other"}, {"from": "earliest"}, {"subscriber": "ui", "from": 0}):
            await client.say("subscribe", channels=["key.*"], **change)
            await client.refused()
        await publish(broker, 1)
        assert await client.events(1) == [1], "the subscription goes on as it was"
    async with listen(broker, channels="key.*") as client:
        await start(client, 0)
        for change in ({"subscriber": "other"}, {"from": "earliest"}):
            await client.say("subscribe", channels=["key.*"], **change)
            await client.refused()
        await publish(broker, 1)
        assert await client.events(1) == [2]
    async with http() as session:
        status, _ = await call(session, "GET", broker.url + "/v1/subscribers/other")
        assert status == 404


async def test_a_newer_session_takes_over_and_the_older_is_closed_with_4509(broker):
    await publish(broker, 3)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as older:
        await start(older, 3)
        async with listen(broker, channels="key.*", subscriber="ui") as newer:
            assert (await newer.expect("subscribed"))["cursor"] == 0
            assert await newer.events(3) == [0, 1, 2]
            assert await older.closed() == 4509
            await newer.expect("caught_up")
            assert await newer.acked(offset=2) == 3


async def test_a_newer_session_with_other_settings_takes_over_too(broker):
    """Were the older one told to come back, both would take the subscriber from each other for ever."""
    async with listen(broker, channels="key.*", subscriber="ui", window=10) as older:
        await start(older, 0)
        async with listen(broker, channels="key.*", subscriber="ui", window=20) as newer:
            await newer.expect("subscribed")
            assert await older.closed() == 4509


async def test_late_acks_of_a_session_that_was_taken_over_are_refused(broker):
    await publish(broker, 3)
    query = {"channels": "key.*", "subscriber": "ui", "from": "earliest"}
    async with bare(broker, **query) as older:
        for _ in range(5):
            await older.until(1)
        async with listen(broker, **query) as newer:
            await start(newer, 3)
            for late in ({"offset": 2, "confirm": True}, {"offsets": [0]}):
                await older.say("ack", **late)
            await older.say("reject", offset=1)
            assert await older.close_code() == 4509
            await newer.alive()
            shown = await subscriber(broker, "ui")
            assert (shown["cursor"], shown["lag"]) == (0, 3)
            assert await newer.acked(offset=0) == 1


async def test_a_newer_session_of_either_kind_takes_over_and_the_older_of_either_kind_is_told(broker):
    query = {"channels": "key.*", "subscriber": "ui"}
    async with http() as session, listen(broker, **query) as first:
        await start(first, 0)
        async with stream(session, broker, **query) as second:
            assert await first.closed() == 4509
            await second.named("caught_up")
            async with listen(broker, **query) as third:
                await start(third, 0)
                await second.named("taken_over")
                await publish(broker, 1)
                assert await third.events(1) == [0]
                status, pulled = await post(broker, "/v1/subscribers/ui/pull", {"takeover": True})
                assert (status, [event["offset"] for event in pulled["events"]]) == (200, [0])
                assert await third.closed() == 4509


async def test_seek_and_put_end_the_live_session_with_4410_and_it_comes_back_to_the_new_place(broker):
    await publish(broker, 5)
    async with listen(broker, channels="key.*", subscriber="ui") as client:
        await start(client, 0)
        assert await post(broker, "/v1/subscribers/ui/seek", {"to": 3}) == (200, {"cursor": 3})
        assert await client.closed() == 4410
    async with listen(broker, subscriber="ui") as client:
        assert (await client.expect("subscribed"))["cursor"] == 3
        assert await client.events(2) == [3, 4]
        assert await client.acked(offset=3) == 4
        status, shown = await make(broker, "ui", channels=["key.*"], window=3, **{"from": "earliest"})
        assert (status, shown["cursor"], shown["window"], shown["ack_timeout"]) == (200, 4, 3, "30s")
        assert await client.closed() == 4410
    async with listen(broker, subscriber="ui") as client:
        assert (await client.expect("subscribed"))["cursor"] == 4


async def test_two_names_are_two_sessions_and_anonymous_ones_are_as_many_as_come(broker):
    async with listen(broker, channels="key.*", subscriber="one") as one, \
            listen(broker, channels="key.*", subscriber="two") as two, \
            listen(broker, channels="key.*") as three, listen(broker, channels="key.*") as four:
        for client in (one, two, three, four):
            await start(client, 0)
        await publish(broker, 1)
        for client in (one, two, three, four):
            assert await client.events(1) == [0]
