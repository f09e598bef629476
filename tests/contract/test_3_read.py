"""PROTOCOL.md, section 3: read without a subscriber."""

import asyncio
import json
import time

from asking import asking

MIB = 1 << 20


# A range


async def test_a_range_answers_events_next_and_end(ask, word):
    first = (await ask.many(word, word))["first_offset"]
    page = await ask.get("/v1/events", channels=word, **{"from": first})
    assert page == {"events": [await ask.event(first), await ask.event(first + 1)], "next": first + 2, "end": first + 2}


async def test_channels_are_those_that_are_asked_for_and_all_without(ask, word):
    first = (await ask.many(f"{word}.a", f"{word}.b", f"{word}.c"))["first_offset"]
    assert await ask.found(channels=f"{word}.c,{word}.a", **{"from": first}) == [f"{word}.a", f"{word}.c"]
    assert await ask.found(**{"from": first}) == [f"{word}.a", f"{word}.b", f"{word}.c"]


async def test_a_range_begins_at_from_and_ends_before_to(ask, word):
    first = (await ask.many(*[word] * 5))["first_offset"]
    page = await ask.get("/v1/events", channels=word, **{"from": first + 1, "to": first + 3})
    assert [event["offset"] for event in page["events"]] == [first + 1, first + 2]
    assert (page["next"], page["end"]) == (first + 3, first + 5)


async def test_the_gap_has_from_and_to_and_is_absent_without_one(old):
    assert (await old.get("/v1/events", **{"from": 0}))["gap"] == {"from": 0, "to": 3}
    assert set(await old.get("/v1/events", **{"from": 3})) == {"events", "next", "end"}


async def test_a_range_that_is_gone_altogether_ends_where_it_was_asked_to(old):
    page = await old.get("/v1/events", **{"from": 0, "to": 2})
    assert (page["events"], page["gap"], page["next"]) == ([], {"from": 0, "to": 2}, 2)


async def test_next_is_the_offset_after_the_last_one_examined(ask, word):
    first = (await ask.many("other", word, "other", word, "other"))["first_offset"]
    page = await ask.get("/v1/events", channels=word, limit="1", **{"from": first})
    assert page["next"] == first + 2
    page = await ask.get("/v1/events", channels=word, **{"from": page["next"]})
    assert ([event["offset"] for event in page["events"]], page["next"]) == ([first + 3], first + 5)
    assert (await ask.get("/v1/events", **{"from": first + 5}))["next"] == first + 5


async def test_passed_as_from_next_leads_through_everything_and_events_may_be_empty_before_the_end(broker):
    async with asking(broker) as ask:
        for _ in range(3):
            await ask.many(*[{"channel": "other", "data": None}] * 10_000)
        await ask.publish("rare")
        found, at, pages = [], 0, 0
        while (page := await ask.get("/v1/events", channels="rare", **{"from": at}))["next"] < page["end"]:
            assert page["next"] > at
            found, at, pages = found + page["events"], page["next"], pages + 1
        found += page["events"]
        assert ([event["offset"] for event in found], page["next"], page["end"]) == ([30_000], 30_001, 30_001)
        assert len(await ask.found(limit="10000")) == 10_000, "limit is at most 10,000"
        assert len(await ask.found()) == 100, "limit is 100 by default"


async def test_limit_is_1_to_10_000(ask, word):
    first = (await ask.many(word, word))["first_offset"]
    assert len(await ask.found(limit="1", **{"from": first})) == 1
    assert len(await ask.found(limit="10000", **{"from": first})) == 2
    for limit in ("0", "10001", "-1", "x"):
        await ask.refused("GET", f"/v1/events?limit={limit}", 400, "limit-invalid")


async def test_an_answer_stops_near_8_mib(broker):
    async with asking(broker) as ask:
        for _ in range(2):
            await ask.many(*[{"channel": "large", "data": "x" * (MIB - 1_000)}] * 6)
        text = await ask.text("/v1/events")
        assert 7 * MIB < len(text) < 9.1 * MIB
        page = json.loads(text)
        assert page["next"] == len(page["events"]) and page["end"] == 12
        rest = await ask.get("/v1/events", **{"from": page["next"]})
        assert [event["offset"] for event in page["events"] + rest["events"]] == [*range(12)]


async def held(ask, word, wait):
    """A request that is being held at the end, and when it began."""
    end = await ask.end()
    asked = asyncio.create_task(ask.get("/v1/events", channels=word, wait=wait, **{"from": end}))
    await asyncio.wait([asked], timeout=0.2)
    assert not asked.done(), "there is nothing, and it is held"
    return asked, end


async def test_wait_holds_the_request_until_there_is_something(ask, word):
    asked, end = await held(ask, word, "30s")
    await ask.publish("other")
    await asyncio.wait([asked], timeout=0.2)
    assert not asked.done(), "what does not match is nothing"
    await ask.publish(word)
    page = await asyncio.wait_for(asked, 5)
    assert ([event["offset"] for event in page["events"]], page["next"]) == ([end + 1], end + 2)


async def test_a_wait_that_is_over_is_answered_empty(ask, word):
    began = time.monotonic()
    asked, end = await held(ask, word, "700ms")
    assert await asked == {"events": [], "next": end, "end": end}
    assert 0.7 <= time.monotonic() - began < 5


async def test_a_wait_that_is_over_has_examined_what_did_not_match(ask, word):
    asked, end = await held(ask, word, "700ms")
    await ask.publish("other")
    assert await asked == {"events": [], "next": end + 1, "end": end + 1}


async def test_where_there_is_something_wait_holds_nothing(ask, word):
    await ask.publish(word)
    assert len((await asyncio.wait_for(ask.get("/v1/events", channels=word, wait="60s"), 5))["events"]) == 1


async def test_wait_is_at_most_60_s(ask):
    await ask.get("/v1/events", wait="60s", limit="1")
    for wait in ("60001ms", "61s", "2m"):
        await ask.refused("GET", f"/v1/events?wait={wait}", 400, "wait-invalid")


# One event


async def test_one_event_is_read_by_its_offset(ask, word):
    offset = (await ask.publish(word, {"n": 1}))["offset"]
    event = await ask.event(offset)
    assert (event["offset"], event["channel"], event["data"]) == (offset, word, {"n": 1})


async def test_at_or_beyond_the_end_it_is_404(ask):
    end = await ask.end()
    for offset in (end, end + 1_000):
        await ask.refused("GET", f"/v1/events/{offset}", 404, "event-not-found")


async def test_where_retention_removed_it_it_is_410(old):
    for offset in range(3):
        await old.refused("GET", f"/v1/events/{offset}", 410, "event-gone")
    await old.event(3)


async def test_openapi_names_the_segment_with_two_meanings_ref(ask):
    paths = (await ask.get("/openapi.json"))["paths"]
    assert {"get", "post"} <= set(paths["/v1/events/{ref}"])


# Export


async def export(ask, **query):
    async with ask.session.get(ask.url("/v1/export"), params=query) as answer:
        assert answer.status == 200, await answer.text()
        return answer.headers, (await answer.text()).splitlines()


async def test_an_export_is_ndjson_streamed_one_event_a_line(ask, word):
    first = (await ask.many(*[word] * 3))["first_offset"]
    headers, lines = await export(ask, channels=word)
    assert headers["content-type"] == "application/x-ndjson"
    assert headers["transfer-encoding"] == "chunked" and "content-length" not in headers
    assert [json.loads(line) for line in lines[:-1]] == [await ask.event(first + n) for n in range(3)]


async def test_an_export_takes_channels_from_and_to(ask, word):
    first = (await ask.many(word, "other", word, word))["first_offset"]
    _, lines = await export(ask, channels=word, **{"from": first + 1, "to": first + 3})
    assert [json.loads(line)["offset"] for line in lines[:-1]] == [first + 2]


async def test_a_hole_in_an_export_is_a_gap(old):
    _, lines = await export(old, **{"from": 0})
    assert json.loads(lines[0]) == {"gap": {"from": 0, "to": 3}} and json.loads(lines[1])["offset"] == 3


async def test_the_last_line_of_an_export_says_that_it_is_whole(ask, word):
    first = (await ask.many(word, "other", word))["first_offset"]
    _, lines = await export(ask, channels=word, **{"from": first, "to": first + 3})
    assert json.loads(lines[-1]) == {"checkpoint": None, "from": first, "to": first + 3, "events": 2}
    _, lines = await export(ask)
    end = await ask.end()
    assert json.loads(lines[-1]) == {"checkpoint": None, "from": 0, "to": end, "events": len(lines) - 1}
    assert len(lines) - 1 == end
    _, lines = await export(ask, channels="nobody")
    assert [json.loads(line) for line in lines] == [{"checkpoint": None, "from": 0, "to": end, "events": 0}]


async def test_an_export_that_ends_before_it_begins_is_whole_and_empty(ask, word):
    first, *_ = [answer["offset"] for answer in [await ask.publish(word) for _ in range(3)]]
    _, lines = await export(ask, **{"from": first + 2, "to": first})
    assert [json.loads(line) for line in lines] == [{"checkpoint": None, "from": first + 2, "to": first + 2, "events": 0}]


# Channels


async def test_channels_are_listed_with_events_last_offset_and_last_time(broker):
    async with asking(broker) as ask:
        assert await ask.get("/v1/channels") == {"channels": [], "next": None}
        await ask.many("a.x", "b.y", "a.x")
        last = await ask.publish("a.x")
        listed = await ask.get("/v1/channels")
        other = await ask.event(1)
        assert listed["next"] is None
        assert sorted(listed["channels"], key=lambda each: each["channel"]) == [
            {"channel": "a.x", "events": 3, "last_offset": 3, "last_time": last["time"]},
            {"channel": "b.y", "events": 1, "last_offset": 1, "last_time": other["time"]}]
