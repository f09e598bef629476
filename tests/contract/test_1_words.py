"""PROTOCOL.md, section 1: the words, and the grammar of channels, patterns, names, ids, keys, durations, rates and times."""

import asyncio
import json
import string
import urllib.parse

import pytest
import websockets

from asking import JSON, asking
from endpoint import endpoint
from harness import Broker, eventually

NOWHERE = "http://127.0.0.1:9/"
TOKEN = string.ascii_letters + string.digits + "_-:@"
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


def quoted(text):
    return urllib.parse.quote(text, safe="")


# The words


async def test_an_event_never_changes_after_it_is_written(broker):
    async with asking(broker) as ask:
        await ask.publish("a", {"n": 1}, idempotency_key="x")
        before = await ask.text("/v1/events/0")
        await ask.publish("a", {"n": 1}, expect=200, idempotency_key="x", traceparent="00-1")
        await ask.refused("POST", "/v1/events/a", 409, "id-conflict", json={"n": 2}, headers={"idempotency-key": "x"})
        assert await ask.text("/v1/events/0") == before
        broker.kill()
        broker.start()
        assert await ask.text("/v1/events/0") == before


@pytest.mark.parametrize("pattern, wanted", [
    ("key.activated", ["key.activated"]),
    ("key.*", ["key.activated", "key.expired"]),
    ("key.**", ["key.activated", "key.expired", "key.a.b"]),
    ("**", ["key", "key.activated", "key.expired", "key.a.b", "policy.approved"])])
async def test_a_pattern_is_what_a_listener_asks_for(shared, pattern, wanted):
    async with asking(shared) as ask:
        first = await ask.end()
        await ask.many("key", "key.activated", "key.expired", "key.a.b", "policy.approved")
        async with ask.listening(channels=pattern, **{"from": first}) as listener:
            assert [event["channel"] for event in await listener.events(len(wanted))] == wanted
            assert await listener.frame() == {"op": "caught_up", "end": first + 5}


async def test_offsets_are_0_1_2_without_a_hole_in_one_order_for_all_channels(broker):
    async with asking(broker) as ask:
        assert (await ask.publish("a"))["offset"] == 0
        assert (await ask.publish("b"))["offset"] == 1
        await ask.refused("POST", "/v1/events/a", 400, "data-invalid", data=b"{", headers=JSON)
        assert (await ask.many("c", "a"))["first_offset"] == 2
        assert (await ask.publish("a"))["offset"] == 4


async def test_the_start_is_the_oldest_offset_still_kept(old):
    assert (await old.get("/health/ready"))["start"] == 3
    await old.event(3)
    await old.get("/v1/events/2", 410)


async def test_the_end_is_the_offset_after_the_newest_durable_event(ask, word):
    newest = (await ask.publish(word))["offset"]
    assert (await ask.get("/v1/events"))["end"] == newest + 1
    assert (await ask.get("/health/ready"))["end"] == newest + 1


async def test_a_subscriber_exists_while_nobody_is_connected(broker):
    async with asking(broker) as ask:
        await ask.put("worker", channels=["a"])
        await ask.publish("a")
        broker.kill()
        broker.start()
        shown = await ask.subscriber("worker")
        assert (shown["connected"], shown["cursor"], shown["lag"]) == (False, 0, 1)


async def test_a_session_is_one_live_reader_for_a_subscriber_one_at_a_time_or_anonymous(ask, word):
    async with ask.listening(channels=word) as one, ask.listening(channels=word) as other:
        async with ask.listening(channels=word, subscriber=word) as older, ask.listening(subscriber=word) as newer:
            while not older.socket.closed:
                await older.socket.receive(timeout=10)
            assert older.socket.close_code == 4509
            offset = (await ask.publish(word))["offset"]
            for live in (one, other, newer):
                assert (await live.event())["offset"] == offset


async def test_open_is_delivered_and_not_yet_acknowledged_rejected_or_dead(ask, word):
    first = await ask.end()
    await ask.many(word, word, word, word)
    async with ask.listening(channels=word, subscriber=word, window=3, **{"from": first}) as listener:
        await listener.events(3)
        assert (await ask.subscriber(word))["open"] == 3, "delivered"
        assert await listener.ack(first) == first + 1
        await listener.event()
        await listener.socket.send_json({"op": "reject", "offset": first + 1})

        async def two_are_open():
            return (await ask.subscriber(word))["open"] == 2
        await eventually(two_are_open, what="one acknowledged, one rejected")
    assert (await ask.subscriber(word))["cursor"] == first + 2


async def test_the_cursor_is_the_lowest_matching_offset_that_is_not_acknowledged_or_the_end(ask, word):
    first = await ask.end()
    await ask.many("other", word, "other", word, "other")
    made = await ask.put(word, channels=[word], **{"from": first})
    assert made["cursor"] == first + 1, "what does not match is no cursor"
    await ask.pull(word)
    assert await ask.ack(word, offsets=[first + 3]) == first + 1
    assert await ask.ack(word, offsets=[first + 1]) == first + 5
    assert (await ask.subscriber(word))["cursor"] == await ask.end()


async def test_an_ack_says_that_everything_up_to_and_including_an_offset_is_done(ask, word):
    first = await ask.end()
    await ask.many(word, word, word)
    await ask.put(word, channels=[word], **{"from": first})
    await ask.pull(word)
    assert await ask.ack(word, offset=first + 1) == first + 2
    assert (await ask.subscriber(word))["lag"] == 1


async def test_a_connector_is_a_subscriber_whose_listener_is_an_endpoint_that_the_broker_calls(ask, word):
    async with endpoint() as called:
        await ask.put(word, kind="connector", url=called.url, channels=[word])
        offset = (await ask.publish(word))["offset"]
        await eventually(lambda: called.accepted == [offset], what="the endpoint is called")
    listed = await ask.get("/v1/subscribers", limit="1000")
    assert [each["kind"] for each in listed["subscribers"] if each["name"] == word] == ["connector"]


async def test_a_receipt_is_durable_and_says_who_which_offsets_when_and_how(broker):
    async with asking(broker) as ask:
        await ask.put("worker", channels=["a"])
        await ask.many("a", "a")
        await ask.pull("worker")
        await ask.ack("worker", offset=1)
        broker.kill()
        broker.start()
        receipt, = await ask.receipts()
        assert receipt.pop("time") >= (await ask.event(1))["time"]
        assert receipt == {"subscriber": "worker", "from": 0, "to": 2, "outcome": "acked", "attempts": 1}


# Channel


async def test_a_channel_is_1_to_16_tokens_joined_by_dots(ask):
    for channel in ("a", ".".join("a" * 16)):
        assert (await ask.publish(channel))["channel"] == channel
    for channel in (".".join("a" * 17), ".a", "a.", "a..b", "."):
        await ask.refused("POST", f"/v1/events/{quoted(channel).replace('.', '%2E')}", 400, "channel-invalid", data=b"1")


async def test_a_channel_is_at_most_255_bytes(ask):
    await ask.publish("a" * 255)
    await ask.refused("POST", "/v1/events/" + "a" * 256, 400, "channel-invalid", data=b"1")


async def test_a_token_is_1_or_more_letters_digits_underscores_hyphens_colons_and_ats(ask):
    assert (await ask.publish(TOKEN))["channel"] == TOKEN
    await ask.many(*TOKEN)
    for other in {*map(chr, range(0x80)), "\u00e9", "\u4e00"} - {*TOKEN}:
        body = {"json": [{"channel": f"a{other}b" if other != "." else "a..b", "data": 1}]}
        await ask.refused("POST", "/v1/events", 400, "channel-invalid", **body)


async def test_case_matters_in_a_channel(ask, word):
    first = (await ask.many(word, word.upper()))["first_offset"]
    assert await ask.found(channels=word.upper(), **{"from": first}) == [word.upper()]


@pytest.mark.parametrize("channel", ["$stentor.connector.failing", "$mine", "$a.b.c"])
async def test_only_the_broker_publishes_what_begins_with_a_dollar(ask, channel):
    entry = {"channel": channel, "data": 1}
    await ask.refused("POST", f"/v1/events/{quoted(channel)}", 403, "channel-reserved", data=b"1")
    await ask.refused("POST", "/v1/events", 403, "channel-reserved", json=[entry])
    async with websockets.connect(ask.broker.ws) as socket:
        await socket.send(json.dumps({"op": "publish", **entry}))
        assert json.loads(await socket.recv())["code"] == "channel-reserved"


async def test_anyone_may_listen_to_what_begins_with_a_dollar(ask):
    async with ask.listening(channels="$stentor.**,$mine") as listener:
        assert listener.subscribed["channels"] == ["$stentor.**", "$mine"]


@pytest.mark.parametrize("what", ["failing", "recovered", "paused"])
async def test_version_1_publishes_stentor_connector(ask, word, what):
    async with endpoint(lambda event: 503 if what == "failing" or len(called.requests) < 6 else 200) as called:
        async with ask.listening(channels=f"$stentor.connector.{what}") as listener:
            await ask.put(word, kind="connector", url=called.url, channels=[word], retry={"initial": "5ms", "max": "5ms"})
            if what == "paused":
                await ask("POST", f"/v1/connectors/{word}/pause", 204)
            else:
                await ask.publish(word)
            event = await listener.event()
            assert event["channel"] == f"$stentor.connector.{what}"
            assert word in event["data"].values(), "it names the connector"
        await ask("DELETE", f"/v1/connectors/{word}", 204)


async def test_nothing_but_users_events_and_those_three_takes_an_offset(broker):
    async with asking(broker) as ask, endpoint() as called:
        await ask.publish("a")
        await ask.put("worker", channels=["a"], **{"from": "earliest"})
        await ask.put("ems", kind="connector", url=called.url, channels=["a"], **{"from": "earliest"})
        await eventually(lambda: called.accepted, what="the endpoint is called")
        await ask.pull("worker")
        await ask.ack("worker", offset=0)
        await ask.post("/v1/subscribers/worker/seek", {"to": 0})
        await ask("DELETE", "/v1/subscribers/worker", 204)
        await ask("DELETE", "/v1/connectors/ems", 204)
        assert (await ask.publish("a"))["offset"] == 1


# Pattern


async def test_a_star_stands_for_one_whole_token(ask, word):
    first = (await ask.many(word, f"{word}.a", f"{word}.a.b", f"{word}.a.b.c"))["first_offset"]
    assert await ask.found(channels=f"{word}.*", **{"from": first}) == [f"{word}.a"]
    assert await ask.found(channels="*", **{"from": first}) == [word]
    assert await ask.found(channels="*.*.b", **{"from": first}) == [f"{word}.a.b"]
    for part in ("a*", "*a", "a*b"):
        await ask.refused("GET", f"/v1/events?channels={word}.{part}", 400, "channels-invalid")


async def test_two_stars_stand_for_one_or_more_tokens(ask, word):
    first = (await ask.many(word, f"{word}.a", f"{word}.a.b"))["first_offset"]
    assert await ask.found(channels=f"{word}.**", **{"from": first}) == [f"{word}.a", f"{word}.a.b"]
    assert await ask.found(channels="*.**", **{"from": first}) == [f"{word}.a", f"{word}.a.b"]


@pytest.mark.parametrize("pattern", ["**.a", "a.**.b", "**.**", "***"])
async def test_two_stars_stand_only_as_the_last_token(ask, pattern):
    await ask.refused("GET", f"/v1/events?channels={pattern}", 400, "channels-invalid")


async def test_anything_else_in_a_pattern_is_literal(ask, word):
    first = (await ask.many(f"{word}.ab", f"{word}-ab", f"{word}.AB", f"{word}.abc"))["first_offset"]
    assert await ask.found(channels=f"{word}.ab", **{"from": first}) == [f"{word}.ab"]


@pytest.fixture(scope="module")
def dollar(tmp_path_factory):
    """A broker whose first event is one of its own, and the second a user's."""
    running = Broker(tmp_path_factory.mktemp("dollar") / "data").start()

    async def seed():
        async with asking(running) as ask:
            await ask.put("ems", kind="connector", url=NOWHERE, channels=["never"])
            await ask("POST", "/v1/connectors/ems/pause", 204)
            await eventually(ask.end, what="the pause is told")
            await ask.publish("stentor.connector.paused")
    asyncio.run(seed())
    yield running
    running.close()


@pytest.mark.parametrize("pattern, wanted", [
    ("**", ["stentor.connector.paused"]), ("*.**", ["stentor.connector.paused"]),
    ("*.connector.paused", ["stentor.connector.paused"]), ("$stentor.**", ["$stentor.connector.paused"]),
    ("$stentor.*.paused", ["$stentor.connector.paused"])])
async def test_neither_star_matches_a_leading_dollar_token_but_dollar_stentor_and_two_stars_does(dollar, pattern, wanted):
    async with asking(dollar) as ask:
        assert await ask.found(channels=pattern) == wanted


async def test_a_list_is_an_array_in_json_comma_separated_or_repeated_in_a_query(ask, word):
    channels = [f"{word}.a", f"{word}.b", f"{word}.c"]
    first = (await ask.many(*channels, f"{word}.d"))["first_offset"]
    assert await ask.found(channels=",".join(channels), **{"from": first}) == channels
    assert await ask.found(channels=channels, **{"from": first}) == channels
    assert await ask.found(channels=[f"{channels[0]},{channels[1]}", channels[2]], **{"from": first}) == channels
    assert (await ask.put(word, channels=channels))["channels"] == channels
    await ask.refused("PUT", f"/v1/subscribers/{word}", 400, "json-invalid", json={"channels": ",".join(channels)})


async def test_a_listener_gets_an_event_once_however_many_of_its_patterns_match(ask, word):
    channels = f"{word}.*,{word}.**,{word}.a,*.a"
    first = (await ask.many(f"{word}.a", f"{word}.b"))["first_offset"]
    async with ask.listening(channels=channels, **{"from": first}) as listener:
        assert [event["offset"] for event in await listener.events(2)] == [first, first + 1]
        assert await listener.frame() == {"op": "caught_up", "end": first + 2}
    assert await ask.found(channels=channels, **{"from": first}) == [f"{word}.a", f"{word}.b"]
    await ask.put(word, channels=channels.split(","), **{"from": first})
    assert await ask.pulled(word) == [first, first + 1]


# Names, ids, keys, durations, rates, times


async def test_a_name_is_1_to_128_letters_digits_underscores_hyphens_dots_colons_and_ats(ask):
    every = TOKEN + "."
    for name in (every, "a", "n" * 128):
        assert (await ask.put(name, channels=["a"]))["name"] == name
    await ask.refused("PUT", "/v1/subscribers/" + "n" * 129, 400, "name-invalid", json={"channels": ["a"]})
    for other in {*map(chr, range(0x80)), "\u00e9"} - {*every}:
        await ask.refused("PUT", f"/v1/subscribers/{quoted('a' + other)}", 400, "name-invalid", json={"channels": ["a"]})


async def test_subscribers_and_connectors_share_one_namespace(ask, word):
    await ask.put(f"{word}s", channels=["a"])
    await ask.put(f"{word}c", kind="connector", url=NOWHERE, channels=["never"])
    connector = {"url": NOWHERE, "channels": ["never"]}
    await ask.refused("PUT", f"/v1/connectors/{word}s", 409, "name-of-other-kind", json=connector)
    await ask.refused("PUT", f"/v1/subscribers/{word}c", 409, "name-of-other-kind", json={"channels": ["a"]})


@pytest.mark.parametrize("method, path, body", [
    ("GET", "", None), ("DELETE", "", None), ("POST", "/seek", {"to": 0}), ("GET", "/wait?offset=0", None),
    ("POST", "/pull", {}), ("POST", "/ack", {"offset": 0})])
async def test_a_connectors_name_used_where_a_plain_subscriber_is_meant_is_409(ask, word, method, path, body):
    await ask.put(word, kind="connector", url=NOWHERE, channels=["never"])
    await ask.refused(method, f"/v1/subscribers/{word}{path}", 409, "name-of-other-kind", json=body)
    await ask.get(f"/v1/connectors/{word}")


@pytest.mark.parametrize("method, path, body", [
    ("GET", "", None), ("DELETE", "", None), ("POST", "/pause", None), ("POST", "/resume", None),
    ("POST", "/seek", {"to": 0}), ("POST", "/test", None), ("POST", "/rotate-secret", None), ("GET", "/attempts", None),
    ("POST", "/replay", {"from": 0})])
async def test_a_plain_subscribers_name_used_where_a_connector_is_meant_is_409(ask, word, method, path, body):
    await ask.put(word, channels=["a"])
    arguments = {} if body is None else {"json": body}
    await ask.refused(method, f"/v1/connectors/{word}{path}", 409, "name-of-other-kind", **arguments)
    await ask.subscriber(word)


async def test_a_name_that_was_deleted_and_made_again_is_a_new_subscriber(ask, word):
    first = (await ask.many(word, word))["first_offset"]
    await ask.put(word, channels=[word], **{"from": first})
    session = (await ask.pull(word))["session"]
    await ask.ack(word, offset=first)
    await ask("DELETE", f"/v1/subscribers/{word}", 204)
    again = await ask.put(word, channels=[word], **{"from": first})
    assert (again["cursor"], again["lag"], again["open"], again["last_ack"]) == (first, 2, 0, None)
    await ask.refused("POST", f"/v1/subscribers/{word}/ack", 409, "session-over", json={"offset": first, "session": session})
    assert [event.get("attempt") for event in (await ask.pull(word))["events"]] == [None, None]


async def test_an_event_id_is_1_to_128_visible_ascii_characters(ask, word):
    for id in (VISIBLE, "x" * 128, "!"):
        assert (await ask.event((await ask.many({"channel": word, "data": 1, "id": id}))["first_offset"]))["id"] == id
    for id in ("", "x" * 129, "a b", "a\u007fb", "a\nb", "\u00e9"):
        await ask.refused("POST", "/v1/events", 400, "id-invalid", json=[{"channel": word, "data": 1, "id": id}])


async def test_a_key_is_1_to_255_bytes_without_control_characters(ask, word):
    for key in ("k", "k" * 255, "\u00e9" * 127 + "k", " k k "):
        assert (await ask.event((await ask.many({"channel": word, "data": 1, "key": key}))["first_offset"]))["key"] == key
    for key in ("", "k" * 256, "\u00e9" * 128, "a\u0000", "a\nb", "a\u007f", "a\u0085"):
        await ask.refused("POST", "/v1/events", 400, "key-invalid", json=[{"channel": word, "data": 1, "key": key}])


async def test_a_duration_is_digits_and_ms_s_m_h_or_d(ask, word):
    for n, duration in enumerate(["1500ms", "7s", "3m", "5h", "1d"]):
        assert (await ask.put(f"{word}-{n}", channels=["a"], ack_timeout=duration))["ack_timeout"] == duration
    for duration in ("5", "s", "1.5s", "-5s", "5 s", "5S", "5w", "5us", "1m30s", ""):
        await ask.refused("PUT", f"/v1/subscribers/{word}", 400, "ack-timeout-invalid",
                          json={"channels": ["a"], "ack_timeout": duration})


async def test_a_rate_is_so_many_a_second_a_minute_or_an_hour(ask, word):
    for n, rate in enumerate(["100/s", "100/m", "100/h"]):
        made = await ask.put(f"{word}-{n}", kind="connector", url=NOWHERE, channels=["never"], rate_limit=rate)
        assert made["rate_limit"] == rate
    for rate in ("100", "100/", "100/d", "/s", "0/s", "1.5/s", "100 / s"):
        await ask.refused("PUT", f"/v1/connectors/{word}", 400, "rate-limit-invalid",
                          json={"url": NOWHERE, "channels": ["never"], "rate_limit": rate})


@pytest.mark.parametrize("time", [
    "2020-01-01T00:00:00Z", "2020-01-01T00:00:00.123456Z", "2020-01-01T00:00:00+05:30", "2020-01-01t00:00:00z",
    "2020-01-01T00:00:00.5-00:00", "2016-12-31T23:59:60Z"])
async def test_a_time_is_rfc_3339(ask, time):
    assert (await ask.get("/v1/events", limit="1", **{"from": time}))["next"] == 1


@pytest.mark.parametrize("time", [
    "2020-01-01", "2020-01-01T00:00:00", "2020-13-01T00:00:00Z", "2020-02-30T00:00:00Z", "2020-01-01T24:00:00Z",
    "2020-W01-1T00:00:00Z", "2020-01-01T00:00:00.Z",
    # ISO 8601, and more than RFC 3339 takes of it.
    "2020-01-01T00:00Z", "2020-01-01T00:00:00+0530", "2020-01-01T00:00:00+05", "20200101T000000Z",
    "2020-01-01T00:00:00,5Z", "2020-01-01T00:00:00Z[UTC]", "+002020-01-01T00:00:00Z"])
async def test_what_is_not_rfc_3339_is_no_time(ask, time):
    await ask.refused("GET", f"/v1/events?from={quoted(time)}", 400, "from-invalid")


async def test_path_segments_are_percent_decoded_once(ask, word):
    assert (await ask.put(f"{word}%40me%3A1", channels=["a"]))["name"] == f"{word}@me:1"
    assert (await ask.subscriber(f"{word}@me:1"))["name"] == f"{word}@me:1"
    answer = await ask("POST", "/v1/events/%6Bey%2Eactivated", 201, data=b"1", headers=JSON)
    assert answer["channel"] == "key.activated"
    assert (await ask.event("%30"))["offset"] == 0
    await ask.refused("POST", "/v1/events/key%252Eactivated", 400, "channel-invalid", data=b"1")


# Unknown fields and parameters


@pytest.mark.parametrize("path", [
    "/v1/events", "/v1/events/0", "/v1/events/0/receipts", "/v1/export", "/v1/channels", "/v1/subscribers",
    "/v1/subscribers/a", "/v1/subscribers/a/wait", "/v1/connectors", "/v1/connectors/a", "/v1/connectors/a/attempts",
    "/v1/dead-letters", "/v1/receipts", "/v1/sse"])
async def test_unknown_query_parameters_are_refused_and_named(ask, path):
    problem = await ask.refused("GET", f"{path}?offset=0&colour=red" if path.endswith("wait") else f"{path}?colour=red",
                                400, "parameter-unknown")
    assert problem["field"] == "colour" or "colour" in problem["detail"]


@pytest.mark.parametrize("method, path, body", [
    ("POST", "/v1/events", [{"channel": "a", "data": 1, "colour": 1}]),
    ("PUT", "/v1/subscribers/a", {"channels": ["a"], "colour": 1}),
    ("POST", "/v1/subscribers/a/seek", {"to": 0, "colour": 1}), ("POST", "/v1/subscribers/a/pull", {"colour": 1}),
    ("POST", "/v1/subscribers/a/ack", {"offset": 0, "colour": 1}), ("POST", "/v1/preview", {"channels": ["a"], "colour": 1}),
    ("POST", "/v1/preview", {"channels": ["a"], "connector": {"url": NOWHERE, "colour": 1}}),
    ("PUT", "/v1/connectors/a", {"url": NOWHERE, "channels": ["a"], "colour": 1}),
    ("POST", "/v1/connectors/a/replay", {"from": 0, "colour": 1}),
    ("POST", "/v1/dead-letters/retry", {"subscriber": "a", "offsets": [0], "colour": 1})])
async def test_unknown_fields_are_refused_and_named(ask, method, path, body):
    problem = await ask.refused(method, path, 400, "json-invalid", json=body)
    assert "colour" in problem["detail"]


@pytest.mark.parametrize("verb", ["pause", "resume"])
async def test_unknown_fields_are_refused_where_no_field_is_known(ask, word, verb):
    await ask.put(word, kind="connector", url=NOWHERE, channels=["never"])
    problem = await ask.refused("POST", f"/v1/connectors/{word}/{verb}", 400, "json-invalid", json={"colour": 1})
    assert "colour" in problem["detail"]
