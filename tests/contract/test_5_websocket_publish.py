"""PROTOCOL.md section 5: `publish`, of one event and of batches, and its answers."""

import asyncio

import pytest

from harness import call, http
from talking import end_of, listen, stands_in


async def test_a_publish_is_answered_by_its_ref(broker):
    async with listen(broker) as client:
        await client.say("publish", ref="1", channel="key.activated", data={"n": 1}, id="a", key="k", headers={"x": "y"})
        assert await client.frame() == {"op": "published", "ref": "1", "offset": 0, "id": "a"}
        await client.say("publish", ref="2", channel="key.activated", data=None)
        answer = await client.expect("published")
        assert set(answer) == {"op", "ref", "offset", "id"} and (answer["ref"], answer["offset"]) == ("2", 1)
    async with http() as session:
        _, event = await call(session, "GET", broker.url + "/v1/events/0", expect=200)
        assert (event["key"], event["headers"], event["data"]) == ("k", {"x": "y"}, {"n": 1})
        _, event = await call(session, "GET", broker.url + "/v1/events/1", expect=200)
        assert (event["id"], event["data"]) == (answer["id"], None)


async def test_published_leaves_only_when_the_event_is_on_disk(broker):
    async with listen(broker) as client:
        for n in range(20):
            await client.say("publish", ref=str(n), channel="key.on", data=n)
        answers = [await client.expect("published") for _ in range(20)]
        broker.kill()
    broker.start()
    async with http() as session:
        for answer in answers:
            _, event = await call(session, "GET", f"{broker.url}/v1/events/{answer['offset']}", expect=200)
            assert (event["id"], str(event["data"])) == (answer["id"], answer["ref"])


async def test_a_publish_is_delivered_on_the_connection_that_made_it_too(broker):
    async with listen(broker, channels="key.*") as client:
        await client.expect("subscribed")
        await client.expect("caught_up")
        await client.say("publish", ref="1", channel="key.on", data=[1], id="i", key="k", headers={"a": "b"})
        frames = {frame["op"]: frame for frame in [await client.frame(), await client.frame()]}
        assert frames["published"] == {"op": "published", "ref": "1", "offset": 0, "id": "i"}
        event = frames["event"]
        assert {name: event[name] for name in ("offset", "id", "channel", "key", "headers", "data")} == {
            "offset": 0, "id": "i", "channel": "key.on", "key": "k", "headers": {"a": "b"}, "data": [1]}


async def test_publishes_are_answered_in_any_order_each_once_by_its_ref(broker):
    async with listen(broker) as client:
        refs = [str(n) for n in range(3_000)]

        async def write():
            for ref in refs:
                await client.say("publish", ref=ref, channel="key.activated", data=int(ref))
        writing = asyncio.create_task(write())
        answers = [await client.expect("published") for _ in refs]
        await writing
        assert sorted(answer["ref"] for answer in answers) == sorted(refs)
        assert sorted(answer["offset"] for answer in answers) == list(range(3_000))


async def test_a_repeated_id_is_a_duplicate_and_another_payload_a_conflict(broker):
    async with listen(broker) as client:
        for duplicate in ({}, {"duplicate": True}):
            await client.say("publish", ref="r", channel="key.activated", data={"n": 1}, id="a")
            assert await client.frame() == {"op": "published", "ref": "r", "offset": 0, "id": "a", **duplicate}
        await client.say("publish", ref="c", channel="key.activated", data={"n": 2}, id="a")
        assert (await client.refused())["ref"] == "c"
        await client.say("publish", ref="o", channel="key.other", data={"n": 2}, id="a")
        assert (await client.expect("published"))["offset"] == 1, "ids are told apart by channel"


async def test_a_batch_is_published_all_or_none(broker):
    async with listen(broker) as client:
        await client.say("publish", ref="0", channel="key.activated", data=0, id="old")
        await client.expect("published")
        batch = [{"channel": "key.activated", "data": n, "id": str(n)} for n in range(3)]
        await client.say("publish", ref="1", events=batch)
        summary = {"op": "published", "ref": "1", "first_offset": 1, "last_offset": 3, "count": 3, "duplicates": 0}
        assert await client.frame() == summary
        await client.say("publish", ref="2", events=[*batch, {"channel": "key.activated", "data": "new"}])
        assert await client.frame() == {"op": "published", "ref": "2", "first_offset": 4, "last_offset": 4, "count": 4,
                                        "duplicates": 3, "offsets": [1, 2, 3, 4]}
        refused = [
            [{"channel": "key.ok", "data": 1}, {"channel": "not a channel", "data": 1}],
            [{"channel": "key.ok", "data": 1}, {"channel": "key.ok"}],
            [{"channel": "key.ok", "data": 1, "id": "x"}, {"channel": "key.ok", "data": 2, "id": "x"}],
            [{"channel": "key.ok", "data": 1}, {"channel": "key.activated", "data": "other", "id": "old"}],
            [{"channel": "key.ok", "data": 1}, {"channel": "$stentor.x", "data": 1}],
            [],
        ]
        for n, events in enumerate(refused):
            await client.say("publish", ref=f"bad-{n}", events=events)
            error = await client.refused()
            assert error["ref"] == f"bad-{n}"
            assert not events or "2" in error["detail"], f"the second is at fault: {error}"
    assert await end_of(broker) == 5


@pytest.mark.parametrize("fault", [
    {"channel": "not a channel"}, {"channel": ""}, {"channel": "a..b"}, {"channel": "$stentor.x"}, {"id": ""},
    {"id": "with space"}, {"id": "x" * 129}, {"key": ""}, {"key": "a\u0001"}, {"key": "é" * 128}, {"headers": {"Upper": "x"}},
    {"headers": {"a": "b\n"}}, {"headers": {str(n): "" for n in range(33)}}, {"data": "x" * (1 << 20)}, {"channel": None},
    {"nonsense": 1}, {"data_base64": "AA==", "content_type": "text/plain"}, {"content_type": "text/plain"},
], ids=lambda fault: "-".join(f"{k}={str(v)[:12]!r}" for k, v in fault.items()))
async def test_a_refused_publish_is_an_error_with_its_ref_that_names_the_field(broker, fault):
    async with listen(broker) as client:
        await client.say("publish", ref="the ref", **{"channel": "key.activated", "data": {"n": 1}, **fault})
        error = await client.refused()
        assert error["ref"] == "the ref", error
        assert stands_in(next(iter(fault)), error["detail"]), error
    assert await end_of(broker) == 0


async def test_a_publish_that_is_both_one_event_and_a_batch_is_refused(broker):
    async with listen(broker) as client:
        await client.say("publish", ref="1", channel="key.one", data=1, events=[{"channel": "key.two", "data": 2}])
        assert (await client.refused())["ref"] == "1"
    assert await end_of(broker) == 0, "neither is published: the other would be lost without a word"


async def test_a_payload_of_another_content_type_is_published_in_base64(broker):
    async with listen(broker, channels="bin.*") as client:
        await client.expect("subscribed")
        await client.expect("caught_up")
        await client.say("publish", ref="1", events=[{"channel": "bin.x", "content_type": "image/png", "data_base64": "AP8="}])
        frames = {frame["op"]: frame for frame in [await client.frame(), await client.frame()]}
        assert (frames["event"]["content_type"], frames["event"]["data_base64"]) == ("image/png", "AP8=")


async def test_an_event_may_have_1_mib_and_a_batch_10_000_events_and_not_more(broker):
    async with listen(broker) as client:
        full = "x" * ((1 << 20) - 2)
        await client.say("publish", ref="1", channel="key.on", data=full)
        assert (await client.expect("published"))["offset"] == 0
        await client.say("publish", ref="2", channel="key.on", data=full + "x")
        assert (await client.refused("too-large"))["ref"] == "2"
        many = [{"channel": "key.on", "data": n} for n in range(10_001)]
        await client.say("publish", ref="3", events=many)
        assert (await client.refused("too-large"))["ref"] == "3"
        await client.say("publish", ref="4", events=many[1:])
        assert await client.frame() == {"op": "published", "ref": "4", "first_offset": 1, "last_offset": 10_000,
                                        "count": 10_000, "duplicates": 0}
        large = [{"channel": "key.on", "data": full[:900_000]} for _ in range(10)]
        await client.say("publish", ref="5", events=large[:9])
        assert (await client.expect("published"))["last_offset"] == 10_009
        await client.say("publish", ref="6", events=[*large[:9], {"channel": "key.on", "data": "x" * 310_000}])
        assert (await client.refused("too-large"))["ref"] == "6"
    assert await end_of(broker) == 10_010


async def test_limits_that_are_configured_hold_for_frames_as_for_requests(brokers):
    small = {"STENTOR_LIMITS_MAX_EVENT_SIZE": "1KiB", "STENTOR_LIMITS_MAX_BATCH_SIZE": "4KiB"}
    broker = brokers("small", environment=small).start()
    async with listen(broker) as client:
        await client.say("publish", ref="1", channel="key.activated", data="x" * 2_000)
        assert (await client.refused())["code"] == "too-large"
        events = [{"channel": "key.activated", "data": "x" * 900} for _ in range(10)]
        await client.say("publish", ref="2", events=events)
        assert (await client.refused())["code"] == "too-large"
    assert await end_of(broker) == 0
