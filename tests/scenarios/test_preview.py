"""PROTOCOL.md section 4, `preview`: what a listener or a connector would get, and nothing happens."""

import json

import pytest

from connecting import publish
from endpoint import endpoint
from harness import call, http, refused


async def preview(session, broker, **asked):
    return (await call(session, "POST", f"{broker.url}/v1/preview", json=asked, expect=200))[1]


async def test_a_preview_counts_what_matches_and_shows_the_first_ten(broker):
    async with http() as session:
        await publish(session, broker, *range(15))
        await publish(session, broker, *range(5), channel="key.activated")
        answer = await preview(session, broker, channels=["policy.*"])
        assert answer["matches"] == 15 and "requests" not in answer
        assert [event["offset"] for event in answer["events"]] == list(range(10))
        answer = await preview(session, broker, channels=["**"], **{"from": 13, "to": 17})
        assert answer["matches"] == 4 and [event["offset"] for event in answer["events"]] == [13, 14, 15, 16]


async def test_with_settings_it_shows_the_requests_and_sends_none(broker):
    async with http() as session, endpoint() as receiver:
        await publish(session, broker, {"n": 1}, {"m": 2})
        settings = {"url": receiver.url, "headers": {"authorization": "Bearer x"}, "format": {"template": "n={{ data.n }}"},
                    "content_type": "text/plain"}
        answer = await preview(session, broker, channels=["policy.*"], connector=settings)
        first, second = answer["requests"]
        assert (first["method"], first["url"], first["body"]) == ("POST", receiver.url, "n=1")
        headers = first["headers"]
        assert (headers["authorization"], headers["content-type"]) == ("Bearer x", "text/plain")
        assert headers["webhook-signature"].startswith("v1,") and headers["stentor-attempt"] == "1"
        assert headers["webhook-id"].endswith("_0")
        assert second["offset"] == 1 and "line 1" in second["error"], "this event would be a failed attempt"
        assert not receiver.requests
        _, names = await call(session, "GET", f"{broker.url}/v1/connectors", expect=200)
        assert names["connectors"] == []


async def test_a_body_that_is_no_text_is_shown_in_base64(broker):
    async with http() as session:
        await call(session, "POST", f"{broker.url}/v1/events/scan", data=b"\xff\x00", expect=201, headers={"content-type": "image/png"})
        settings = {"url": "http://127.0.0.1:9/", "format": "data"}
        request, = (await preview(session, broker, channels=["scan"], connector=settings))["requests"]
        assert (request["body"], request["body_base64"]) == (None, "/wA=")


@pytest.mark.parametrize("field, settings", [
    ("url", {"url": "http://10.0.0.1/"}), ("format", {"format": {"template": "{{"}}), ("headers", {"headers": {"webhook-id": "x"}}),
    ("rate_limit", {"rate_limit": "fast"}), ("nonsense", {"nonsense": 1}), ("timeout", {"timeout": "1h"}),
])
async def test_settings_that_a_connector_could_not_have_are_refused(broker, field, settings):
    async with http() as session:
        body = {"channels": ["a"], "connector": {"url": "http://127.0.0.1:9/", **settings}}
        code = "json-invalid" if field == "nonsense" else f"{field.replace('_', '-')}-invalid"
        problem = await refused(session, "POST", f"{broker.url}/v1/preview", 400, code, json=body)
        assert field in json.dumps(problem)
