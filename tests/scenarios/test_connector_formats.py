"""PROTOCOL.md section 7, `format`: what an endpoint gets, read by the CloudEvents SDK and by hand."""

import datetime
import json

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook

from connecting import attempts, connect, publish, standing
from endpoint import endpoint
from harness import call, eventually, http, refused

DATA = {"policy": 7, "by": "Jörg \"the\" Müller"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def one_request(session, broker, format, body, headers, **settings):
    """Publishes one event to a connector of this format; gives the request, whose signature verifies, and the offset."""
    async with endpoint() as receiver:
        connector = await connect(session, broker, receiver, format=format, **settings)
        _, made = await call(session, "POST", f"{broker.url}/v1/events/policy.approved", data=body, expect=201,
                             headers={"content-type": "application/json", **headers})
        await eventually(lambda: receiver.requests, what="the request came")
        got, = receiver.requests
        is_signed(connector, got)
        return got, made


def is_signed(connector, got):
    """The standard's library signs the body as it came, whatever its form, and finds its signature in the request."""
    at = datetime.datetime.fromtimestamp(int(got.headers["webhook-timestamp"]), datetime.timezone.utc)
    signature = Webhook(connector["secret"]).sign(got.headers["webhook-id"], at, got.body.decode())
    assert signature in got.headers["webhook-signature"].split()


@pytest.mark.parametrize("mode", ["cloudevents", "cloudevents-binary"])
async def test_an_event_arrives_as_a_cloudevent_that_the_sdk_reads(broker, mode):
    async with http() as session:
        got, made = await one_request(session, broker, mode, json.dumps(DATA), {
            "idempotency-key": "p-7", "stentor-key": "Straße 5 \"A\" 100%", "traceparent": TRACE})
        if mode == "cloudevents":
            assert got.headers["content-type"] == "application/cloudevents+json"
        else:
            assert got.headers["content-type"] == "application/json"
            assert got.body == json.dumps(DATA).encode(), "the payload is the body, byte for byte"
        event = from_http_event(HTTPMessage(headers=got.headers, body=got.body))
        assert (event.get_id(), event.get_type(), event.get_source()) == ("p-7", "policy.approved", "/channels/policy.approved")
        assert event.get_datacontenttype() == "application/json"
        assert event.get_extension("partitionkey") == "Straße 5 \"A\" 100%"
        assert event.get_extension("sequence") == f"{made['offset']:020}"
        assert event.get_extension("traceparent") == TRACE
        assert event.get_time().isoformat().replace("+00:00", "Z") == made["time"]
        assert event.get_data() == DATA


async def test_a_payload_that_is_not_json_arrives_whole_in_both_modes(broker):
    async with http() as session, endpoint() as structured, endpoint() as binary:
        await connect(session, broker, structured, name="structured", format="cloudevents")
        await connect(session, broker, binary, name="binary", format="cloudevents-binary")
        body = bytes(range(256))
        await call(session, "POST", f"{broker.url}/v1/events/policy.scan", data=body, expect=201,
                   headers={"content-type": "image/png"})
        for receiver in (structured, binary):
            await eventually(lambda: receiver.requests, what="the request came")
            event = from_http_event(HTTPMessage(headers=receiver.requests[0].headers, body=receiver.requests[0].body))
            assert (event.get_data(), event.get_datacontenttype()) == (body, "image/png")


async def test_attributes_that_were_stored_as_headers_come_out_again(broker):
    async with http() as session:
        got, _ = await one_request(session, broker, "cloudevents", "1", {
            "stentor-key": "case-9", "stentor-header-ce-source": "/ems/7", "stentor-header-ce-subject": "case-9",
            "stentor-header-ce-tenant": "city", "stentor-header-ce-time": "2020-01-01T00:00:00Z"})
        event = json.loads(got.body)
        assert (event["source"], event["subject"], event["tenant"], event["time"]) == (
            "/ems/7", "case-9", "city", "2020-01-01T00:00:00Z")
        assert "partitionkey" not in event, "the key came from the subject"


async def test_a_template_that_does_not_parse_is_refused_and_its_line_is_named(broker):
    async with http() as session:
        settings = {"url": "http://127.0.0.1:9/", "channels": ["a"], "format": {"template": "one\ntwo\n{{ three"}}
        problem = await refused(session, "PUT", f"{broker.url}/v1/connectors/ems", 400, "format-invalid", json=settings)
        assert problem["field"] == "format" and "line 3" in problem["detail"]
        for format in ({"template": 5}, {"template": "a", "more": 1}, {}, {"template": "x" * 70_000}):
            await refused(session, "PUT", f"{broker.url}/v1/connectors/ems", 400, "format-invalid",
                          json={**settings, "format": format})


async def test_a_template_that_fails_on_an_event_is_a_failed_attempt_that_says_why(broker):
    async with http() as session, endpoint() as receiver:
        await connect(session, broker, receiver, format={"template": "a\n{{ data.policy }}"}, retry={
            "initial": "5ms", "max": "5ms", "give_up_after": 2})
        bad, good = await publish(session, broker, {"other": 1}, {"policy": 5})
        await eventually(lambda: receiver.accepted == [good], what="the event behind it arrives")
        assert receiver.requests[0].body == b"a\n5"
        failed = [attempt for attempt in await attempts(session, broker) if attempt["offset"] == bad]
        assert [attempt["status"] for attempt in failed] == [None, None]
        assert all("line 2" in attempt["error"] and "undefined" in attempt["error"] for attempt in failed), failed
        assert (await standing(session, broker, bad))["state"] == "dead"


async def test_a_template_cannot_run_for_ever_or_make_more_than_fits(broker):
    async with http() as session, endpoint() as receiver:
        loop = "{% for a in range(100000) %}{% for b in range(100000) %}{{ 'x' * 1000 }}{% endfor %}{% endfor %}"
        await connect(session, broker, receiver, format={"template": loop}, retry={
            "initial": "5ms", "max": "5ms", "give_up_after": 1})
        offset, = await publish(session, broker, 1)

        async def dead():
            return (await standing(session, broker, offset))["state"] == "dead"
        await eventually(dead, what="it is given up")
        assert not receiver.requests
