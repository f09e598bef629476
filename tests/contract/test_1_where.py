"""PROTOCOL.md, section 1: where something begins and ends (`from`, `to`, seek), and lists."""

import asyncio
import datetime
import json

import pytest
import pytest_asyncio

from asking import asking
from endpoint import endpoint
from harness import Broker
from sse import stream

NOWHERE = "http://127.0.0.1:9/"


def later(time):
    """A microsecond later."""
    return (datetime.datetime.fromisoformat(time) + datetime.timedelta(microseconds=1)).isoformat()


PLACES = {"an offset as a number": lambda events: (events[1]["offset"], 1),
          "an offset as a string": lambda events: (str(events[1]["offset"]), 1),
          "the first event at a time": lambda events: (events[1]["time"], 1),
          "the first event after a time": lambda events: (later(events[1]["time"]), 2),
          "latest": lambda events: ("latest", 3)}


@pytest.mark.parametrize("place", PLACES)
async def test_where_is_an_offset_a_time_or_an_end(ask, word, place):
    first = (await ask.publish(word))["offset"]
    await ask.publish(word)
    await ask.publish(word)
    where, index = PLACES[place]([await ask.event(first + n) for n in range(3)])
    assert (await ask.put(word, channels=[word], **{"from": where}))["cursor"] == first + index
    await ask.post(f"/v1/subscribers/{word}/seek", {"to": "earliest"})
    assert await ask.post(f"/v1/subscribers/{word}/seek", {"to": where}) == {"cursor": first + index}
    assert (await ask.get("/v1/events", channels=word, **{"from": where}))["events"] == \
        [await ask.event(offset) for offset in range(first + index, first + 3)]


async def test_a_time_between_two_microseconds_is_the_first_event_after_it(ask, word):
    first = (await ask.publish(word))["offset"]
    await ask.publish(word)
    between = (await ask.event(first))["time"].replace("Z", "5Z")
    assert (await ask.put(word, channels=[word], **{"from": between}))["cursor"] == first + 1


async def test_earliest_is_the_start(old):
    assert (await old.post("/v1/subscribers/late-0/seek", {"to": "earliest"}))["cursor"] == 3
    assert (await old.get("/v1/events", limit="1", **{"from": "earliest"}))["events"] == [await old.event(3)]


async def test_a_time_before_all_events_is_the_first_and_one_behind_them_the_end(ask, word):
    await ask.publish(word)
    end = await ask.end()
    assert (await ask.get("/v1/events", limit="1", **{"from": "1999-01-01T00:00:00Z"}))["events"][0]["offset"] == 0
    assert (await ask.get("/v1/events", **{"from": "2999-01-01T00:00:00Z"}))["next"] == end


async def test_a_time_before_1970_is_a_time_before_all_events(ask, word):
    await ask.publish(word)
    assert (await ask.get("/v1/events", limit="1", **{"from": "0001-01-01T00:00:00Z"}))["events"][0]["offset"] == 0


async def test_to_is_exclusive_everywhere(ask, word):
    first = (await ask.many(word, word, word))["first_offset"]
    range = {"channels": word, "from": first, "to": first + 2}
    assert len(await ask.found(**range)) == 2
    export = (await ask.text("/v1/export", **range)).splitlines()
    assert (len(export), json.loads(export[-1])["to"]) == (3, first + 2)
    assert (await ask.post("/v1/preview", {**range, "channels": [word]}))["matches"] == 2
    async with endpoint() as called:
        await ask.put(word, kind="connector", url=called.url, channels=[word])
        replay = {"from": first, "to": first + 2}
        assert (await ask.post(f"/v1/connectors/{word}/replay", replay, 202))["events"] == 2
        await ask("DELETE", f"/v1/connectors/{word}", 204)
    await ask.put(word, channels=[word], **{"from": first})
    await ask.pull(word)
    for offset in (first, first + 1, first + 2):
        await ask.ack(word, offset=offset)
    assert [each["from"] for each in await ask.receipts(subscriber=word, **replay)] == [first, first + 1]


@pytest.mark.parametrize("method, path, field", [
    ("GET", "/v1/events?from=", "from"), ("GET", "/v1/events?to=", "to"), ("GET", "/v1/export?from=", "from"),
    ("GET", "/v1/export?to=", "to"), ("GET", "/v1/sse?channels=a&from=", "from"), ("GET", "/v1/receipts?from=", "from"),
    ("GET", "/v1/receipts?to=", "to"), ("POST", "/v1/preview", "from"), ("POST", "/v1/preview", "to"),
    ("PUT", "/v1/subscribers/beyond", "from"), ("PUT", "/v1/connectors/beyond", "from"),
    ("POST", "/v1/subscribers/{plain}/seek", "to"), ("POST", "/v1/connectors/{connector}/seek", "to"),
    ("POST", "/v1/connectors/{connector}/replay", "from"), ("POST", "/v1/connectors/{connector}/replay", "to")])
async def test_beyond_the_end_is_400(ask, word, method, path, field):
    await ask.put(f"{word}s", channels=["a"])
    await ask.put(f"{word}c", kind="connector", url=NOWHERE, channels=["never"])
    path = path.format(plain=f"{word}s", connector=f"{word}c")
    beyond = await ask.end() + 1
    if method == "GET":
        path, arguments = f"{path}{beyond}", {}
    else:
        body = {"PUT": {"channels": ["a"]}, "POST": {"channels": ["a"]} if "preview" in path else {}}[method]
        body |= {"url": NOWHERE} if path == "/v1/connectors/beyond" else {}
        body |= {"from": 0} if path.endswith("replay") else {}
        arguments = {"json": {**body, field: beyond}}
    problem = await ask.refused(method, path, 400, "offset-beyond-end", **arguments)
    assert problem["field"] == field


async def test_the_end_itself_is_not_beyond_the_end(ask, word):
    end = await ask.end()
    assert (await ask.get("/v1/events", **{"from": end, "to": end}))["next"] == end
    assert (await ask.put(word, channels=[word], **{"from": end}))["cursor"] == end


async def test_below_the_start_a_range_begins_at_the_start_and_tells_the_gap(old):
    page = await old.get("/v1/events", **{"from": 1})
    assert (page["gap"], page["events"][0]["offset"]) == ({"from": 1, "to": 3}, 3)


async def test_below_the_start_an_export_begins_at_the_start_and_tells_the_gap(old):
    first, second, *_ = map(json.loads, (await old.text("/v1/export", **{"from": 1})).splitlines())
    assert first == {"gap": {"from": 1, "to": 3}} and second["offset"] == 3


async def test_below_the_start_a_websocket_begins_at_the_start_and_tells_the_gap(old):
    async with old.listening(channels="old", **{"from": 1}) as listener:
        assert await listener.frame() == {"op": "gap", "from": 1, "to": 3}
        assert (await listener.frame())["offset"] == 3


async def test_below_the_start_a_stream_begins_at_the_start_and_tells_the_gap(old):
    async with stream(old.session, old.broker, channels="old", **{"from": 1}) as events:
        assert await events.named("gap") == {"from": 1, "to": 3}
        assert (await events.events(1))[0]["offset"] == 3


async def test_below_the_start_a_seek_leads_to_the_start_and_the_gap_is_told(old):
    await old.post("/v1/subscribers/late-1/seek", {"to": 4})
    assert await old.post("/v1/subscribers/late-1/seek", {"to": 1}) == {"cursor": 3}
    pulled = await old.pull("late-1", max=1)
    assert (pulled["gap"]["to"], pulled["events"][0]["offset"]) == (3, 3)


async def test_from_defaults_to_latest_for_a_websocket(ask, word):
    await ask.publish(word)
    async with ask.listening(channels=word) as listener:
        assert listener.subscribed["cursor"] == await ask.end()
        assert (await listener.frame())["op"] == "caught_up"


async def test_from_defaults_to_latest_for_server_sent_events(ask, word):
    await ask.publish(word)
    async with stream(ask.session, ask.broker, channels=word) as events:
        await events.named("caught_up")
        second = await ask.publish(word)
        assert [event["offset"] for event in await events.events(1)] == [second["offset"]]


async def test_from_defaults_to_latest_for_new_subscribers_and_connectors(ask, word):
    end = (await ask.publish(word))["offset"] + 1
    assert (await ask.put(word, channels=[word]))["cursor"] == end
    assert (await ask.put(f"{word}c", kind="connector", url=NOWHERE, channels=[word]))["cursor"] == end


async def test_from_defaults_to_earliest_for_ranges_export_and_preview(ask, word):
    offset = (await ask.publish(word))["offset"]
    assert await ask.found(channels=word) == [word]
    event, last = map(json.loads, (await ask.text("/v1/export", channels=word)).splitlines())
    assert (event["offset"], last["from"]) == (offset, 0)
    assert (await ask.post("/v1/preview", {"channels": [word]}))["matches"] == 1


# Lists


MANY = 101
LISTS = {"channels": "channel", "subscribers": "name", "connectors": "name", "receipts": "from", "dead-letters": "offset"}


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """A broker with one more of everything than a list has by default."""
    running = Broker(tmp_path_factory.mktemp("crowded") / "data").start()

    async def fill():
        async with asking(running) as ask:
            await ask.many(*[f"many.c{n}" for n in range(MANY)])
            for n in range(MANY - 1):
                await ask.put(f"s{n}", channels=["never"])
                await ask.put(f"c{n}", kind="connector", url=NOWHERE, channels=["never"])
            await ask.put("c", kind="connector", url=NOWHERE, channels=["never"])
            async with ask.listening(channels="many.*", subscriber="s", **{"from": "earliest"}) as listener:
                await listener.events(MANY)
                for offset in range(MANY):
                    await listener.socket.send_json({"op": "reject", "offset": offset})
                    assert await listener.ack(offset) == offset + 1
    asyncio.run(fill())
    yield running
    running.close()


@pytest_asyncio.fixture
async def crowd(crowded):
    async with asking(crowded) as ask:
        yield ask


def listed(page, which):
    return [each[LISTS[which]] for each in page[which.replace("-", "_")]]


@pytest.mark.parametrize("which", LISTS)
async def test_a_list_takes_limit(crowd, which):
    page = await crowd.get(f"/v1/{which}", limit="7")
    assert len(listed(page, which)) == 7 and page["next"] is not None


@pytest.mark.parametrize("which", LISTS)
async def test_the_default_limit_of_a_list_is_100(crowd, which):
    page = await crowd.get(f"/v1/{which}")
    assert len(listed(page, which)) == 100 and page["next"] is not None


@pytest.mark.parametrize("which", LISTS)
async def test_a_list_gives_next_which_is_passed_as_after_and_is_null_at_the_end(crowd, which):
    found, after = [], {}
    while True:
        page = await crowd.get(f"/v1/{which}", limit="40", **after)
        assert set(page) == {which.replace("-", "_"), "next"}
        found += listed(page, which)
        if page["next"] is None:
            break
        assert isinstance(page["next"], str) and len(listed(page, which)) == 40
        after = {"after": page["next"]}
    wanted = {"channels": {f"many.c{n}" for n in range(MANY)}, "receipts": {*range(MANY)}, "dead-letters": {*range(MANY)},
              "connectors": {"c", *(f"c{n}" for n in range(MANY - 1))}}
    wanted["subscribers"] = wanted["connectors"] | {"s", *(f"s{n}" for n in range(MANY - 1))}
    assert len(found) == len({*found}) and {*found} == wanted[which]


async def test_a_list_that_just_fits_has_no_next(crowd):
    assert (await crowd.get("/v1/channels", limit=str(MANY)))["next"] is None
    assert (await crowd.get("/v1/connectors", limit=str(MANY)))["next"] is None
