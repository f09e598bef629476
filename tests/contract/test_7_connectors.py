"""PROTOCOL.md section 7: the settings of a connector, its secret, and what is shown of both."""

import json
import re

import pytest
from standardwebhooks import Webhook

from connecting import RETRY, act, attempts, in_state, publish, receipts, shown
from endpoint import endpoint
from harness import call, eventually, http, refused

URL = "http://127.0.0.1:9/hook"
DEFAULTS = {"format": "native", "content_type": None, "timeout": "15s", "in_flight": 1, "rate_limit": None,
            "retry": {"initial": "1s", "max": "5m", "give_up_after": None}}
OTHERS = {"format": "data", "content_type": "text/plain", "timeout": "7s", "in_flight": 4, "rate_limit": "100/s",
          "retry": {"initial": "2s", "max": "1m", "give_up_after": 9}}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def put(session, broker, own, expect, **settings):
    settings = {"url": URL, "channels": [f"{own}.*"], **settings}
    return (await call(session, "PUT", f"{broker.url}/v1/connectors/{own}", json=settings, expect=expect))[1]


async def arrival(session, broker, receiver, own, **headers):
    """Publishes one event; gives the request that it became."""
    before = len(receiver.requests)
    await publish(session, broker, {"n": before}, channel=f"{own}.e", **headers)
    await eventually(lambda: len(receiver.requests) > before, what="the request")
    return receiver.requests[-1]


# PUT, 201


async def test_put_makes_a_connector_and_answers_201_with_it(shared, session, own):
    made = await put(session, shared, own, 201)
    assert (made["name"], made["url"], made["channels"]) == (own, URL, [f"{own}.*"])


@pytest.mark.parametrize("setting", DEFAULTS)
async def test_a_setting_that_is_left_out_has_its_default(shared, session, own, setting):
    made = await put(session, shared, own, 201)
    assert made[setting] == DEFAULTS[setting]


@pytest.mark.parametrize("setting", OTHERS)
async def test_a_setting_that_is_given_is_taken(shared, session, own, setting):
    await put(session, shared, own, 201, **{setting: OTHERS[setting]})
    assert (await shown(session, shared, own))[setting] == OTHERS[setting]


@pytest.mark.parametrize("setting, value", [("content_type", None), ("rate_limit", None), ("secret", None),
                                            ("retry", {"initial": "1s", "max": "5m", "give_up_after": None})])
async def test_a_default_may_be_written_as_the_contract_writes_it(shared, session, own, setting, value):
    made = await put(session, shared, own, 201, **{setting: value})
    assert setting == "secret" or made[setting] == value


async def test_the_url_and_the_channels_are_due(shared, session, own):
    path = f"{shared.url}/v1/connectors/{own}"
    for missing, there in (("url", {"channels": ["a"]}), ("channels", {"url": URL})):
        problem = await refused(session, "PUT", path, 400, "json-invalid", json=there)
        assert missing in problem["detail"]


async def test_an_unknown_setting_is_refused_and_named(shared, session, own):
    problem = await refused(session, "PUT", f"{shared.url}/v1/connectors/{own}", 400, "json-invalid",
                            json={"url": URL, "channels": ["a"], "colour": "red"})
    assert "colour" in problem["detail"]


async def test_from_is_latest_where_it_is_not_given(shared, session, own):
    async with endpoint() as receiver:
        await publish(session, shared, "before", channel=f"{own}.e")
        await put(session, shared, own, 201, url=receiver.url)
        got = await arrival(session, shared, receiver, own)
        assert json.loads(receiver.requests[0].body)["data"] == {"n": 0} and got.attempt == 1


@pytest.mark.parametrize("place", ["earliest", "offset", "text", "time"])
async def test_from_may_be_any_place(shared, session, own, place):
    async with endpoint() as receiver:
        _, first = await call(session, "POST", f"{shared.url}/v1/events/{own}.e", json=1, expect=201)
        where = {"earliest": "earliest", "offset": first["offset"], "text": str(first["offset"]), "time": first["time"]}
        await put(session, shared, own, 201, url=receiver.url, **{"from": where[place]})
        await eventually(lambda: receiver.accepted == [first["offset"]], what="it begins there")


# The secret


async def test_the_secret_is_made_unless_given(shared, session, own):
    made = await put(session, shared, own, 201)
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{32,}=*", made["secret"])


async def test_the_secret_that_is_made_is_another_each_time(shared, session, own):
    first = (await put(session, shared, own, 201))["secret"]
    await call(session, "DELETE", f"{shared.url}/v1/connectors/{own}", expect=204)
    assert (await put(session, shared, own, 201))["secret"] != first


async def test_a_secret_that_is_given_is_told_once_and_signs(shared, session, own):
    async with endpoint() as receiver:
        made = await put(session, shared, own, 201, url=receiver.url, secret=SECRET)
        assert made["secret"] == SECRET
        got = await arrival(session, shared, receiver, own)
        assert Webhook(SECRET).verify(got.body, got.headers)


async def test_the_names_of_headers_are_shown_without_their_values(shared, session, own):
    await put(session, shared, own, 201, headers={"authorization": "Bearer hush", "x-city": "Oslo"})
    _, shown = await call(session, "GET", f"{shared.url}/v1/connectors/{own}", expect=200)
    assert shown["headers"] == {"authorization": None, "x-city": None}
    assert (await put(session, shared, own, 200, headers={}))["headers"] == {}


@pytest.mark.parametrize("way", ["one", "list", "subscribers", "replaced"])
async def test_secrets_and_header_values_never_come_back(shared, session, own, way):
    made = await put(session, shared, own, 201, headers={"authorization": f"Bearer hush-{own}"})
    if way == "replaced":
        answer = await put(session, shared, own, 200)
    else:
        path = {"one": f"connectors/{own}", "list": "connectors", "subscribers": "subscribers"}[way]
        _, answer = await call(session, "GET", f"{shared.url}/v1/{path}", expect=200)
    told = json.dumps(answer)
    assert own in told and "hush" not in told and "whsec_" not in told and made["secret"][6:] not in told


async def test_they_reach_no_trace_no_attempt_no_receipt_and_no_export(brokers):
    broker = brokers(environment={"STENTOR_LOG": "trace"}).start()
    async with http() as session, endpoint() as receiver:
        receiver.answer = lambda event: (500, json.dumps(receiver.requests[-1].headers))
        made = await put(session, broker, "ems", 201, url=receiver.url, headers={"authorization": "Bearer hush-hush"},
                         retry={**RETRY, "give_up_after": 2}, secret=SECRET)
        assert made["secret"] == SECRET
        await publish(session, broker, 1, channel="ems.e")
        await eventually(lambda: receipts(session, broker, subscriber="ems"), what="it is given up")
        assert receiver.requests[0].headers["authorization"] == "Bearer hush-hush"
        told = [json.dumps(await attempts(session, broker)), json.dumps(await receipts(session, broker))]
        assert "authorization" in told[0], "the endpoint's answer is shown"
        async with session.get(f"{broker.url}/v1/export?channels=**,$stentor.**") as answer:
            told.append(await answer.text())
    broker.stop()
    broker.log.flush()
    told.append(open(broker.log.name).read())
    assert "TRACE" in told[-1] and all(len(text) > 100 for text in told)
    for text in told:
        assert "hush-hush" not in text and SECRET not in text and SECRET[6:] not in text


# PUT, 200


@pytest.mark.parametrize("setting", DEFAULTS)
async def test_replacing_answers_200_and_absent_settings_return_to_their_defaults(shared, session, own, setting):
    await put(session, shared, own, 201, **OTHERS)
    assert (await put(session, shared, own, 200))[setting] == DEFAULTS[setting]


async def test_replacing_tells_no_secret(shared, session, own):
    await put(session, shared, own, 201)
    assert "secret" not in await put(session, shared, own, 200)


async def test_the_cursor_stays_whatever_from_says(shared, session, own):
    async with endpoint() as receiver:
        await put(session, shared, own, 201, url=receiver.url)
        await arrival(session, shared, receiver, own)
        await in_state(session, shared, "active", own)
        await eventually(lambda: acknowledged(session, shared, own), what="the ack")
        cursor = (await shown(session, shared, own))["cursor"]
        assert (await put(session, shared, own, 200, url=receiver.url, **{"from": "earliest"}))["cursor"] == cursor
        await arrival(session, shared, receiver, own)
        assert [got.attempt for got in receiver.requests] == [1, 1] and len(set(receiver.attempts)) == 2


async def acknowledged(session, broker, own):
    return (await shown(session, broker, own))["lag"] == 0


async def test_the_pause_stays(shared, session, own):
    await put(session, shared, own, 201)
    await act(session, shared, "pause", name=own, expect=204)
    assert (await put(session, shared, own, 200))["state"] == "paused"


async def test_the_secret_stays(shared, session, own):
    async with endpoint() as receiver:
        secret = (await put(session, shared, own, 201, url=receiver.url))["secret"]
        await put(session, shared, own, 200, url=receiver.url)
        got = await arrival(session, shared, receiver, own)
        assert Webhook(secret).verify(got.body, got.headers)


async def test_absent_headers_stay(shared, session, own):
    async with endpoint() as receiver:
        await put(session, shared, own, 201, url=receiver.url, headers={"authorization": "Bearer abc123"})
        await put(session, shared, own, 200, url=receiver.url)
        assert (await arrival(session, shared, receiver, own)).headers["authorization"] == "Bearer abc123"


async def test_an_empty_set_of_headers_clears_them(shared, session, own):
    async with endpoint() as receiver:
        await put(session, shared, own, 201, url=receiver.url, headers={"authorization": "Bearer abc123"})
        await put(session, shared, own, 200, url=receiver.url, headers={})
        assert "authorization" not in (await arrival(session, shared, receiver, own)).headers


async def test_headers_that_are_given_replace_all_of_them(shared, session, own):
    async with endpoint() as receiver:
        await put(session, shared, own, 201, url=receiver.url, headers={"x-one": "1", "x-two": "2"})
        await put(session, shared, own, 200, url=receiver.url, headers={"x-two": "3"})
        got = await arrival(session, shared, receiver, own)
        assert got.headers["x-two"] == "3" and "x-one" not in got.headers


# GET and DELETE

MEMBERS = {"url", "channels", "format", "content_type", "timeout", "retry", "in_flight", "rate_limit", "state",
           "next_attempt", "last_error", "cursor", "end", "open"}


@pytest.mark.parametrize("member", sorted(MEMBERS))
async def test_one_and_the_list_show_the_settings_and_how_it_is_doing(shared, session, own, member):
    await put(session, shared, own, 201, **OTHERS)
    _, page = await call(session, "GET", f"{shared.url}/v1/connectors", expect=200)
    (listed,) = [each for each in page["connectors"] if each["name"] == own]
    one = await shown(session, shared, own)
    expected = {**OTHERS, "url": URL, "channels": [f"{own}.*"], "state": "active", "next_attempt": None, "last_error": None,
                "cursor": one["end"], "end": one["end"], "open": 0}
    assert one[member] == listed[member] == expected[member]


async def test_lag_counts_the_matching_events_that_are_not_taken(shared, session, own):
    await put(session, shared, own, 201)
    await act(session, shared, "pause", name=own, expect=204)
    first, *_ = await publish(session, shared, 1, 2, 3, channel=f"{own}.e")
    await publish(session, shared, 4, channel="another")
    one = await shown(session, shared, own)
    assert (one["lag"], one["cursor"], one["end"]) == (3, first, first + 4)


async def test_the_list_has_lag_too(shared, session, own):
    await put(session, shared, own, 201)
    _, page = await call(session, "GET", f"{shared.url}/v1/connectors", expect=200)
    assert [each["lag"] for each in page["connectors"] if each["name"] == own] == [0]


async def test_open_counts_what_is_under_way(shared, session, own):
    async with endpoint(lambda event: 500) as receiver:
        await put(session, shared, own, 201, url=receiver.url)
        await publish(session, shared, 1, 2, channel=f"{own}.e")
        assert (await in_state(session, shared, "retrying", own))["open"] == 1


async def test_the_list_has_connectors_alone_in_pages(shared, session, own):
    for n in range(3):
        await call(session, "PUT", f"{shared.url}/v1/connectors/{own}-{n}", json={"url": URL, "channels": ["a"]}, expect=201)
    await call(session, "PUT", f"{shared.url}/v1/subscribers/{own}-plain", json={"channels": ["a"]}, expect=201)
    found, after = [], {}
    while after is not None:
        _, page = await call(session, "GET", f"{shared.url}/v1/connectors", params={"limit": 2, **after}, expect=200)
        assert len(page["connectors"]) <= 2
        found += [each["name"] for each in page["connectors"]]
        after = {"after": page["next"]} if page["next"] else None
    assert [name for name in found if name.startswith(own)] == [f"{own}-{n}" for n in range(3)]


async def test_delete_answers_204_and_it_is_gone(shared, session, own):
    await put(session, shared, own, 201)
    await call(session, "DELETE", f"{shared.url}/v1/connectors/{own}", expect=204)
    for method in ("GET", "DELETE"):
        await refused(session, method, f"{shared.url}/v1/connectors/{own}", 404, "connector-not-found")


async def test_nothing_is_sent_behind_a_delete(shared, session, own):
    async with endpoint() as receiver, endpoint() as other:
        await put(session, shared, own, 201, url=receiver.url)
        await arrival(session, shared, receiver, own)
        await call(session, "DELETE", f"{shared.url}/v1/connectors/{own}", expect=204)
        await put(session, shared, own, 201, url=other.url)
        await arrival(session, shared, other, own)
        assert len(receiver.requests) == 1


async def test_a_name_that_was_deleted_and_made_again_is_a_new_connector(shared, session, own):
    async with endpoint() as receiver:
        await put(session, shared, own, 201, url=receiver.url, headers={"x-old": "1"})
        await arrival(session, shared, receiver, own)
        await act(session, shared, "pause", name=own, expect=204)
        await publish(session, shared, "missed", channel=f"{own}.e")
        await call(session, "DELETE", f"{shared.url}/v1/connectors/{own}", expect=204)
        assert (await put(session, shared, own, 201, url=receiver.url))["state"] == "active"
        got = await arrival(session, shared, receiver, own)
        assert json.loads(got.body)["data"] == {"n": 1} and "x-old" not in got.headers
