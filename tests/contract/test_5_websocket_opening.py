"""PROTOCOL.md section 5: the upgrade, what its query asks for, and the first frame."""

import pytest

from harness import call, http
from talking import SUBPROTOCOL, listen, make, publish, stands_in, start, subscriber


async def test_the_subprotocol_is_echoed_when_it_is_offered(broker):
    async with listen(broker, [SUBPROTOCOL]) as client:
        assert client.socket.subprotocol == SUBPROTOCOL
    async with listen(broker, ["something.else", SUBPROTOCOL]) as client:
        assert client.socket.subprotocol == SUBPROTOCOL


async def test_who_offers_no_subprotocol_gets_the_same(broker):
    async with listen(broker, [], channels="key.*", **{"from": "earliest"}) as client:
        assert client.socket.subprotocol is None
        await client.expect("subscribed")
        await client.expect("caught_up")
        await publish(broker, 1)
        assert await client.events(1) == [0]


async def test_without_parameters_the_connection_may_publish_only(broker):
    async with listen(broker) as client:
        await client.say("publish", ref="1", channel="key.activated", data={"n": 1})
        assert (await client.expect("published"))["offset"] == 0
        await client.silent()


async def test_without_parameters_the_connection_may_subscribe_later(broker):
    await publish(broker, 2)
    async with listen(broker) as client:
        await client.silent()
        await client.say("subscribe", channels=["key.*"], subscriber="ui", **{"from": 1}, window=5, ack_timeout="7s")
        assert await client.frame() == {
            "op": "subscribed", "channels": ["key.*"], "subscriber": "ui", "cursor": 1, "end": 2}
        assert await client.events(1) == [1]
        shown = await subscriber(broker, "ui")
        assert (shown["window"], shown["ack_timeout"], shown["connected"]) == (5, "7s", True)


async def test_subscribed_is_the_first_frame_and_tells_channels_cursor_and_end(broker):
    await publish(broker, 3)
    async with listen(broker, channels="key.*,policy.**", **{"from": "earliest"}) as client:
        assert await client.frame() == {"op": "subscribed", "channels": ["key.*", "policy.**"], "cursor": 0, "end": 3}
    async with listen(broker, channels=["key.*", "policy.**"]) as client:
        assert await client.frame() == {"op": "subscribed", "channels": ["key.*", "policy.**"], "cursor": 3, "end": 3}
    async with listen(broker, channels="key.*", subscriber="ui-1", **{"from": "1"}) as client:
        assert await client.frame() == {
            "op": "subscribed", "channels": ["key.*"], "subscriber": "ui-1", "cursor": 1, "end": 3}


async def test_where_it_begins_may_be_an_offset_a_time_or_an_end(broker):
    await publish(broker, 1)
    await publish(broker, 1)
    async with http() as session:
        _, event = await call(session, "GET", broker.url + "/v1/events/1", expect=200)
    table = {"earliest": 0, "0": 0, "1": 1, "2": 2, "latest": 2, event["time"]: 1, "2020-01-01T00:00:00Z": 0,
             "2100-01-01T00:00:00+01:00": 2}
    for place, cursor in table.items():
        async with listen(broker, channels="key.*", **{"from": place}) as client:
            assert (await client.expect("subscribed"))["cursor"] == cursor, place
            assert await client.events(2 - cursor) == list(range(cursor, 2)), place
            assert await client.frame() == {"op": "caught_up", "end": 2}, place


async def test_an_existing_subscriber_ignores_from_and_keeps_the_settings_that_are_not_given(broker):
    await publish(broker, 3)
    await make(broker, "ui", channels=["key.*"], window=7, ack_timeout="9s", **{"from": 1})
    async with listen(broker, subscriber="ui", ack_timeout="11s", **{"from": "earliest"}) as client:
        assert (await client.expect("subscribed"))["cursor"] == 1
        shown = await subscriber(broker, "ui")
        assert (shown["channels"], shown["window"], shown["ack_timeout"]) == (["key.*"], 7, "11s")


@pytest.mark.parametrize("query, field", [
    ({"nonsense": "1"}, "nonsense"), ({"channels": "**", "nonsense": "1"}, "nonsense"), ({"channels": "a..b"}, "channels"),
    ({"channels": ""}, "channels"), ({"channels": "**.a"}, "channels"), ({"channels": "**", "from": "nowhere"}, "from"),
    ({"channels": "**", "from": "1"}, "from"), ({"channels": "**", "from": ["0", "0"]}, "from"),
    ({"channels": "**", "subscriber": "not a name"}, "subscriber"), ({"channels": "**", "subscriber": ""}, "subscriber"),
    ({"channels": "**", "subscriber": "s", "window": "0"}, "window"), ({"channels": "**", "window": "many"}, "window"),
    ({"channels": "**", "subscriber": "s", "ack_timeout": "5"}, "ack_timeout"),
    ({"channels": "**", "subscriber": "s", "ack_timeout": "0s"}, "ack_timeout"),
    ({"channels": "**", "subscriber": "s", "expires": "soon"}, "expires"), ({"channels": "**", "batch": "0"}, "batch"),
    ({"channels": "**", "batch": "x"}, "batch"), ({"subscriber": "new"}, "channels"), ({"from": "earliest"}, "channels"),
], ids=str)
async def test_bad_parameters_are_answered_after_the_upgrade_by_an_error_and_then_close_4500(broker, query, field):
    async with listen(broker, **query) as client:
        error = await client.expect("error")
        assert error["code"] and stands_in(field, error["detail"]), error
        assert await client.closed() == 4500
    async with http() as session:
        _, found = await call(session, "GET", broker.url + "/v1/subscribers", expect=200)
        assert found["subscribers"] == [], "nobody was made"


async def test_a_connectors_name_is_no_subscribers(broker):
    async with http() as session:
        await call(session, "PUT", broker.url + "/v1/connectors/ems", expect=201,
                   json={"url": f"{broker.url}/nowhere", "channels": ["never.*"]})
    async with listen(broker, channels="**", subscriber="ems") as client:
        error = await client.expect("error")
        assert "ems" in error["detail"], error
        assert await client.closed() == 4500
