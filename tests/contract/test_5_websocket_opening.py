"""PROTOCOL.md section 5: the upgrade, what its query asks for, and the first frame."""

import asyncio
import json

import pytest

from bare_socket import bare
from harness import call, eventually, http
from talking import SUBPROTOCOL, listen, make, publish, stands_in, start, subscriber

# What a subscriber has that was made with nothing but its patterns (section 4).
DEFAULTS = {"channels": ["key.*"], "window": 256, "ack_timeout": "30s", "expires": None}


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


async def test_frames_are_text_each_one_json_object_with_op(broker):
    await publish(broker, 2)
    said = [
        ("subscribe", {"channels": ["key.*"], "subscriber": "ui", "from": 0}), ("ping", {}), ("nonsense", {}),
        ("publish", {"ref": "1", "channel": "key.on", "data": 1}), ("publish", {"ref": "2", "channel": "", "data": 1}),
        ("publish", {"ref": "3", "events": [{"channel": "key.on", "data": 1}]}),
    ]
    due = {"subscribed": 1, "event": 4, "caught_up": 1, "pong": 1, "error": 2, "published": 2}
    async with bare(broker) as client:
        for op, members in said:
            await client.say(op, **members)
        for _ in range(sum(due.values())):
            opcode, payload = await client.receive()
            assert opcode == 1, f"a frame of kind {opcode}: {payload!r}"
            due[json.loads(payload)["op"]] -= 1
    assert set(due.values()) == {0}, due


async def test_the_query_parameters_start_delivery_at_once(broker):
    await publish(broker, 4)
    query = {"channels": "key.*,nobody.**", "from": "1", "subscriber": "ui", "window": 2, "ack_timeout": "9s",
             "expires": "2h", "batch": 2}
    async with listen(broker, **query) as client:
        assert await client.frame() == {
            "op": "subscribed", "channels": ["key.*", "nobody.**"], "subscriber": "ui", "cursor": 1, "end": 4}
        frame = await client.expect("events")
        assert [event["offset"] for event in frame["events"]] == [1, 2]
        shown = await subscriber(broker, "ui")
        assert {member: shown[member] for member in ("window", "ack_timeout", "expires", "connected", "open")} == {
            "window": 2, "ack_timeout": "9s", "expires": "2h", "connected": True, "open": 2}


async def test_a_list_of_channels_is_comma_separated_or_repeated_and_percent_decoded_once(broker):
    for channels in ("key.*,a:b@c.**", ["key.*", "a:b@c.**"]):
        async with listen(broker, channels=channels) as client:
            assert (await client.expect("subscribed"))["channels"] == ["key.*", "a:b@c.**"]
            await client.expect("caught_up")
            await publish(broker, 1, channel="a:b@c.d")
            assert (await client.expect("event"))["channel"] == "a:b@c.d"
    async with listen(broker, channels="key%2E*") as client:
        assert (await client.expect("error"))["code"] == "channels-invalid", "it was encoded twice"


@pytest.mark.parametrize("query", [{}, {"subscriber": "ui"}], ids=["anonymous", "durable"])
async def test_from_defaults_to_latest(broker, query):
    await publish(broker, 3)
    async with listen(broker, channels="key.*", **query) as client:
        assert (await client.expect("subscribed"))["cursor"] == 3
        assert await client.frame() == {"op": "caught_up", "end": 3}
    async with listen(broker) as client:
        await client.say("subscribe", channels=["key.*"], **{name: value + "-2" for name, value in query.items()})
        assert (await client.expect("subscribed"))["cursor"] == 3
        assert await client.frame() == {"op": "caught_up", "end": 3}


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


@pytest.mark.parametrize("members", [
    {"channels": ["key.*"]}, {"channels": ["key.*"], "from": "earliest"}, {"channels": ["key.*"], "subscriber": "ui"},
    {"channels": ["key.*"], "subscriber": "ui", "from": "earliest"},
], ids=lambda members: "-".join(members))
async def test_subscribed_is_always_the_first_frame_of_a_subscription(broker, members):
    """While events pour in, and whatever begins it."""
    await publish(broker, 50)
    over = asyncio.Event()

    async def pour():
        while not over.is_set():
            await publish(broker, 10)

    pouring = asyncio.create_task(pour())
    for _ in range(10):
        async with bare(broker, **members) as client:
            assert json.loads((await client.receive())[1])["op"] == "subscribed"
        async with bare(broker) as client:
            await client.say("subscribe", **members)
            assert json.loads((await client.receive())[1])["op"] == "subscribed"
    over.set()
    await pouring


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


@pytest.mark.parametrize("by", ["query", "frame"])
async def test_a_subscriber_that_is_new_is_made_on_the_spot(broker, by):
    await publish(broker, 2)
    query = {"channels": "key.*", "subscriber": "ui"} if by == "query" else {}
    async with listen(broker, **query) as client:
        if by == "frame":
            await client.say("subscribe", channels=["key.*"], subscriber="ui")
        await client.expect("subscribed")
        await client.expect("caught_up")
    broker.kill()
    broker.start()
    shown = await subscriber(broker, "ui")
    assert {member: shown[member] for member in DEFAULTS} == DEFAULTS
    assert (shown["kind"], shown["cursor"], shown["connected"]) == ("subscriber", 2, False)


@pytest.mark.parametrize("by", ["query", "frame"])
async def test_a_subscriber_that_is_new_needs_channels(broker, by):
    async with listen(broker, **({"subscriber": "ui"} if by == "query" else {})) as client:
        if by == "frame":
            await client.say("subscribe", subscriber="ui")
        error = await client.expect("error")
        assert error["code"] == "channels-invalid" and stands_in("channels", error["detail"]), error
    async with http() as session:
        await call(session, "GET", f"{broker.url}/v1/subscribers/ui", expect=404)


SET = {"channels": ["key.*"], "window": 7, "ack_timeout": "9s", "expires": "3h"}


@pytest.mark.parametrize("by", ["query", "frame"])
@pytest.mark.parametrize("given", [
    {}, {"channels": ["key.*", "b"]}, {"window": 8}, {"ack_timeout": "11s"}, {"from": "earliest"}, {"from": "99"},
    {"window": 3, "ack_timeout": "8s", "from": 2},
], ids=str)
async def test_for_a_subscriber_that_exists_from_is_ignored_and_only_the_settings_that_are_given_change(broker, given, by):
    await publish(broker, 3)
    await make(broker, "ui", **SET, **{"from": 1})
    async with listen(broker, **({"subscriber": "ui", **given} if by == "query" else {})) as client:
        if by == "frame":
            await client.say("subscribe", subscriber="ui", **given)
        assert (await client.expect("subscribed"))["cursor"] == 1
        assert await client.events(2) == [1, 2]
    shown = await subscriber(broker, "ui")
    changed = {member: value for member, value in given.items() if member != "from"}
    assert {member: shown[member] for member in SET} == {**SET, **changed}


async def test_expires_of_a_subscriber_that_exists_changes_by_the_query(broker):
    await make(broker, "ui", **SET)
    async with listen(broker, subscriber="ui", expires="5h") as client:
        await client.expect("subscribed")
    shown = await subscriber(broker, "ui")
    assert {member: shown[member] for member in SET} == {**SET, "expires": "5h"}


async def test_a_subscriber_made_with_expires_is_deleted_after_so_long_without_a_session(broker):
    query = {"channels": "key.*", "ack_timeout": "1s", "expires": "1s"}
    async with listen(broker, subscriber="stays", **query) as client:
        await start(client, 0)
        async with listen(broker, subscriber="goes", **query) as other:
            await start(other, 0)

        async def gone():
            async with http() as session:
                return (await call(session, "GET", f"{broker.url}/v1/subscribers/goes"))[0] == 404
        await eventually(gone, what="whoever has no session is deleted")
        assert (await subscriber(broker, "stays"))["connected"] is True


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
        assert error["code"] == "name-of-other-kind" and "ems" in error["detail"], error
        assert await client.closed() == 4500
