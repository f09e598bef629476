"""PROTOCOL.md, section 4: subscribers are made, shown, moved, waited for, removed; and previews."""

import asyncio
import base64
import hashlib
import hmac
import json
import time

from asking import asking
from endpoint import endpoint
from harness import eventually
from sse import stream

MEMBERS = {"name", "kind", "channels", "cursor", "end", "lag", "open", "connected", "last_ack", "created", "window", "ack_timeout",
           "expires"}
OWN = {"channels": ["key.*"], "window": 7, "ack_timeout": "9s", "expires": "1h"}


async def gone(ask, name):
    async with ask.session.get(ask.url(f"/v1/subscribers/{name}")) as answer:
        return answer.status == 404


# PUT


async def test_put_makes_one_and_answers_201(ask, word):
    made = await ask.put(word, **{**OWN, "from": "earliest"})
    assert {name: made[name] for name in OWN} == OWN and made["name"] == word
    assert await ask.subscriber(word) == made


async def test_the_defaults_are_from_latest_window_256_ack_timeout_30_s_and_no_expiry(ask, word):
    await ask.publish(word)
    made = await ask.put(word, channels=[word])
    assert (made["cursor"], made["window"], made["ack_timeout"], made["expires"]) == (await ask.end(), 256, "30s", None)
    explicit = {"channels": [word], "from": "latest", "window": 256, "ack_timeout": "30s", "expires": None}
    assert (await ask.put(f"{word}-2", **explicit))["expires"] is None


async def test_channels_have_no_default(ask, word):
    problem = await ask.refused("PUT", f"/v1/subscribers/{word}", 400, "json-invalid", json={})
    assert "channels" in problem["detail"]


async def test_put_replaces_the_settings_and_answers_200(ask, word):
    await ask.put(word, channels=["a"])
    replaced = await ask.put(word, 200, **OWN)
    assert {name: replaced[name] for name in OWN} == OWN
    assert await ask.subscriber(word) == replaced


async def test_absent_settings_return_to_their_defaults(ask, word):
    await ask.put(word, **OWN)
    replaced = await ask.put(word, 200, channels=["a"])
    assert (replaced["window"], replaced["ack_timeout"], replaced["expires"]) == (256, "30s", None)


async def test_in_a_replacement_from_is_ignored_and_the_cursor_stays(ask, word):
    first = (await ask.many(word, word, word))["first_offset"]
    await ask.put(word, channels=[word], **{"from": first + 1})
    for place in ("earliest", "latest", first):
        assert (await ask.put(word, 200, channels=[word], **{"from": place}))["cursor"] == first + 1


async def test_a_replacement_ends_a_live_websocket_with_4410_and_it_comes_back(ask, word):
    async with ask.listening(channels=word, subscriber=word) as listener:
        await listener.frame()
        await ask.put(word, 200, channels=[word], window=3)
        await listener.socket.receive(timeout=10)
        assert listener.socket.close_code == 4410
    async with ask.listening(subscriber=word):
        shown = await ask.subscriber(word)
        assert (shown["connected"], shown["window"]) == (True, 3)


async def test_a_replacement_ends_a_live_stream_and_it_comes_back(ask, word):
    async with stream(ask.session, ask.broker, channels=word, subscriber=word) as events:
        await events.named("caught_up")
        await ask.put(word, 200, channels=[word], window=3)
        while await events.block() is not None:
            pass
        assert events.retry < 30_000, "nobody took over: it comes back soon"
    async with stream(ask.session, ask.broker, subscriber=word, last=events.last) as events:
        offset = (await ask.publish(word))["offset"]
        assert [event["offset"] for event in await events.events(1)] == [offset]


async def test_a_replacement_ends_a_live_pull_session(ask, word):
    await ask.put(word, channels=[word])
    session = (await ask.pull(word))["session"]
    await ask.put(word, 200, channels=[word], window=3)
    await ask.refused("POST", f"/v1/subscribers/{word}/pull", 409, "session-over", json={"session": session})


async def test_it_is_deleted_after_expires_without_a_session_and_not_while_it_has_one(ask, word):
    settings = {"channels": ["never"], "ack_timeout": "1s", "expires": "1s"}
    await ask.put(f"{word}-away", **settings)
    await ask.put(f"{word}-here", **settings)
    began = time.monotonic()
    async with ask.listening(subscriber=f"{word}-here"):
        await eventually(lambda: gone(ask, f"{word}-away"), what="the one that is away expires")
        assert time.monotonic() - began >= 0.9
        assert not await gone(ask, f"{word}-here")
    await ask.put(f"{word}-away", **settings)


# GET and DELETE


async def test_it_is_shown_with_all_its_members(ask, word):
    shown = await ask.subscriber((await ask.put(word, **OWN))["name"])
    assert set(shown) == MEMBERS
    assert (shown["kind"], shown["connected"], shown["open"], shown["lag"], shown["last_ack"]) == ("subscriber", False, 0, 0, None)
    assert shown["cursor"] == shown["end"] == await ask.end()


async def test_the_list_has_the_same_members_without_lag(broker):
    async with asking(broker) as ask:
        shown = await ask.put("one", **OWN)
        await ask.put("two", kind="connector", url="http://127.0.0.1:9/", channels=["never"])
        listed = (await ask.get("/v1/subscribers"))["subscribers"]
        del shown["lag"]
        assert {each["name"]: each["kind"] for each in listed} == {"one": "subscriber", "two": "connector"}
        assert [each for each in listed if each["name"] == "one"] == [shown]
        assert all("lag" not in each for each in listed)


async def test_connected_tells_whether_there_is_a_session(ask, word):
    await ask.put(word, channels=[word])
    async with ask.listening(subscriber=word):
        assert (await ask.subscriber(word))["connected"] is True

    async def alone():
        return not (await ask.subscriber(word))["connected"]
    await eventually(alone, what="the session is over")


async def test_created_and_last_ack_are_times(ask, word):
    before = (await ask.publish(word))["time"]
    created = (await ask.put(word, channels=[word], **{"from": before}))["created"]
    published = await ask.publish(word)
    assert before < created < published["time"]
    await ask.pull(word)
    await ask.ack(word, offset=published["offset"])
    shown = await ask.subscriber(word)
    assert shown["created"] == created and shown["last_ack"] > published["time"]


async def test_lag_is_the_exact_count_of_matching_events_from_the_cursor_on_that_are_not_acknowledged(ask, word):
    first = (await ask.many(*[f"{word}.a", f"{word}.b", "other"] * 10))["first_offset"]
    await ask.put(word, channels=[f"{word}.a"], **{"from": first})
    assert (await ask.subscriber(word))["lag"] == 10
    await ask.pull(word, max=5)
    assert (await ask.subscriber(word))["lag"] == 10, "delivered is not acknowledged"
    await ask.ack(word, offset=first + 3)
    assert (await ask.subscriber(word))["lag"] == 8
    await ask.ack(word, offsets=[first + 9])
    shown = await ask.subscriber(word)
    assert (shown["lag"], shown["cursor"], shown["open"]) == (7, first + 6, 2)
    await ask.many(f"{word}.a", "other")
    assert (await ask.subscriber(word))["lag"] == 8


async def test_delete_answers_204_and_it_is_gone(ask, word):
    await ask.put(word, channels=["a"])
    async with ask.session.delete(ask.url(f"/v1/subscribers/{word}")) as answer:
        assert (answer.status, await answer.read()) == (204, b"")
    await ask.refused("GET", f"/v1/subscribers/{word}", 404, "subscriber-not-found")
    await ask.refused("DELETE", f"/v1/subscribers/{word}", 404, "subscriber-not-found")


# Seek and wait


async def test_seek_moves_the_cursor_either_way_and_tells_it(ask, word):
    first = (await ask.many(*[word] * 5))["first_offset"]
    await ask.put(word, channels=[word], **{"from": first + 2})
    for to, cursor in ((first + 4, first + 4), (first + 1, first + 1), ("latest", first + 5), ("earliest", first)):
        assert await ask.post(f"/v1/subscribers/{word}/seek", {"to": to}) == {"cursor": cursor}
        assert (await ask.subscriber(word))["cursor"] == cursor
    assert await ask.pulled(word, max=2) == [first, first + 1]


async def test_seek_back_delivers_again_what_was_acknowledged(ask, word):
    first = (await ask.many(word, word))["first_offset"]
    await ask.put(word, channels=[word], **{"from": first})
    await ask.pull(word)
    await ask.ack(word, offset=first + 1)
    await ask.post(f"/v1/subscribers/{word}/seek", {"to": first})
    assert (await ask.subscriber(word))["lag"] == 2
    assert await ask.pulled(word) == [first, first + 1]


async def test_seek_ends_the_live_session_with_4410_and_it_comes_back_to_the_new_place(ask, word):
    first = (await ask.many(word, word, word))["first_offset"]
    async with ask.listening(channels=word, subscriber=word) as listener:
        await listener.frame()
        await ask.post(f"/v1/subscribers/{word}/seek", {"to": first + 1})
        await listener.socket.receive(timeout=10)
        assert listener.socket.close_code == 4410
    async with ask.listening(subscriber=word) as listener:
        assert listener.subscribed["cursor"] == first + 1
        assert [event["offset"] for event in await listener.events(2)] == [first + 1, first + 2]


async def test_wait_is_answered_as_soon_as_no_matching_event_up_to_that_offset_is_unacknowledged(ask, word):
    first = (await ask.many(word, "other", word, word))["first_offset"]
    await ask.put(word, channels=[word], **{"from": first})
    await ask.pull(word)
    path = f"/v1/subscribers/{word}/wait"
    waiting = asyncio.create_task(ask.get(path, offset=first + 2, timeout="30s"))
    await ask.ack(word, offset=first + 1)
    await asyncio.wait([waiting], timeout=0.2)
    assert not waiting.done(), "up to and including"
    await ask.ack(word, offset=first + 2)
    assert await asyncio.wait_for(waiting, 5) == {"reached": True, "cursor": first + 3}
    assert await ask.get(path, offset=first, timeout="30s") == {"reached": True, "cursor": first + 3}


async def test_for_wait_it_counts_what_is_unacknowledged_and_not_where_the_cursor_is(ask, word):
    first = (await ask.many("other", "other", word))["first_offset"]
    await ask.put(word, channels=[word], **{"from": first})
    path = f"/v1/subscribers/{word}/wait"
    assert await ask.get(path, offset=first + 1) == {"reached": True, "cursor": first + 2}
    assert await ask.get(path, offset=first + 2, timeout="0s") == {"reached": False, "cursor": first + 2}


async def test_wait_is_answered_after_the_timeout_that_it_is_not_reached(ask, word):
    offset = (await ask.publish(word))["offset"]
    await ask.put(word, channels=[word], **{"from": offset})
    began = time.monotonic()
    answer = await ask.get(f"/v1/subscribers/{word}/wait", offset=offset, timeout="600ms")
    assert answer == {"reached": False, "cursor": offset} and 0.6 <= time.monotonic() - began < 5


async def test_the_timeout_of_wait_is_at_most_60_s(ask, word):
    await ask.put(word, channels=["never"])
    path = f"/v1/subscribers/{word}/wait?offset=0&timeout="
    assert (await ask.get(f"{path}60s"))["reached"] is True
    for timeout in ("61s", "60001ms", "2m"):
        await ask.refused("GET", path + timeout, 400, "timeout-invalid")


# Preview


async def preview(ask, **asked):
    return await ask.post("/v1/preview", asked)


async def test_a_preview_tells_how_many_match_and_the_first_10(ask, word):
    first = (await ask.many(*[word, "other"] * 15))["first_offset"]
    events = [await ask.event(first + 2 * n) for n in range(10)]
    assert await preview(ask, channels=[word]) == {"matches": 15, "events": events}


async def test_a_preview_takes_from_and_to(ask, word):
    first = (await ask.many(*[word] * 5))["first_offset"]
    answer = await preview(ask, channels=[word], **{"from": first + 1, "to": first + 4})
    assert (answer["matches"], [event["offset"] for event in answer["events"]]) == (3, [first + 1, first + 2, first + 3])


async def test_with_connector_settings_it_has_the_requests_as_they_would_be_sent_and_sends_none(ask, word):
    offset = (await ask.publish(word, {"n": 1}))["offset"]
    async with endpoint() as called:
        settings = {"url": called.url, "headers": {"authorization": "Bearer x"}}
        request, = (await preview(ask, channels=[word], connector=settings))["requests"]
        assert set(request) == {"method", "url", "headers", "body"} and called.requests == []
        await ask.put(word, kind="connector", channels=[word], **settings, **{"from": offset})
        await eventually(lambda: called.requests, what="the endpoint is called")
        sent = called.requests[0]
    assert (request["method"], request["url"], request["body"].encode()) == ("POST", called.url, sent.body)
    theirs = ("host", "accept", "accept-encoding", "content-length", "user-agent", "webhook-signature", "webhook-timestamp", "traceparent")
    assert {name: value for name, value in request["headers"].items() if name not in theirs} == \
        {name: value for name, value in sent.headers.items() if name not in theirs}


async def test_a_preview_makes_no_connector(ask, word):
    await preview(ask, channels=[word], connector={"url": "http://127.0.0.1:9/"})
    assert word not in json.dumps(await ask.get("/v1/connectors"))


async def test_a_preview_is_signed_with_a_throw_away_secret(ask, word):
    await ask.publish(word)
    key = bytes(range(32))
    settings = {"url": "http://127.0.0.1:9/", "secret": "whsec_" + base64.b64encode(key).decode()}
    request, = (await preview(ask, channels=[word], connector=settings))["requests"]
    headers = request["headers"]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{request['body']}".encode()
    mine = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert len(base64.b64decode(headers["webhook-signature"].removeprefix("v1,"))) == 32
    assert headers["webhook-signature"] != mine
