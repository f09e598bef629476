"""PROTOCOL.md section 7: what an attempt is made of, the body in each format and the headers around it."""

import datetime
import json
import re
import time

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook

from connecting import RETRY, act, connect
from endpoint import endpoint
from harness import call, eventually, refused

DATA = b'{"policy": 7,  "by":"J\\u00f6rg"}'
EVENT_HEADERS = {"idempotency-key": "p-7", "stentor-key": "case-9", "stentor-header-origin": "desk"}


async def sent(session, broker, own, body=DATA, kind="application/json", headers=None, **settings):
    """Publishes one event to a connector of these settings; gives the request and the event as it is read."""
    async with endpoint() as receiver:
        made = await connect(session, broker, receiver, name=own, channels=[f"{own}.*"], **settings)
        _, answer = await call(session, "POST", f"{broker.url}/v1/events/{own}.e", data=body, expect=201,
                               headers={"content-type": kind, **(headers or {})})
        await eventually(lambda: receiver.requests, what="the request")
        async with session.get(f"{broker.url}/v1/events/{answer['offset']}") as read:
            return receiver.requests[0], await read.read(), made


# format


async def test_native_is_the_event_as_json_the_same_as_everywhere(shared, session, own):
    got, event, _ = await sent(session, shared, own, format="native", headers=EVENT_HEADERS)
    assert got.body == event and got.headers["content-type"] == "application/json"


async def test_native_is_the_default(shared, session, own):
    got, event, _ = await sent(session, shared, own)
    assert got.body == event


async def test_native_has_content_type_and_data_base64_where_the_payload_is_not_json(shared, session, own):
    got, event, _ = await sent(session, shared, own, b"\xff\x00", "image/png")
    assert got.body == event and json.loads(event)["data_base64"] == "/wA=" and json.loads(event)["content_type"] == "image/png"


@pytest.mark.parametrize("body, kind", [(DATA, "application/json"), (b"\xff\x00", "image/png"), (b"a,b", "text/csv; header=absent")])
async def test_data_is_the_payload_alone_with_its_content_type(shared, session, own, body, kind):
    got, _, _ = await sent(session, shared, own, body, kind, format="data")
    assert (got.body, got.headers["content-type"]) == (body, kind)


async def test_cloudevents_is_structured(shared, session, own):
    got, event, _ = await sent(session, shared, own, format="cloudevents", headers=EVENT_HEADERS)
    assert got.headers["content-type"] == "application/cloudevents+json"
    read, event = from_http_event(HTTPMessage(headers=got.headers, body=got.body)), json.loads(event)
    assert (read.get_id(), read.get_type(), read.get_extension("partitionkey")) == ("p-7", f"{own}.e", "case-9")
    assert read.get_data() == event["data"] and json.loads(got.body)["specversion"] == "1.0"


async def test_cloudevents_binary_has_the_attributes_as_headers(shared, session, own):
    got, _, _ = await sent(session, shared, own, format="cloudevents-binary", headers=EVENT_HEADERS)
    assert (got.body, got.headers["content-type"]) == (DATA, "application/json")
    told = [got.headers[f"ce-{name}"] for name in ("specversion", "id", "type", "partitionkey")]
    assert told == ["1.0", "p-7", f"{own}.e", "case-9"]


@pytest.mark.parametrize("member", ["offset", "id", "channel", "time", "key", "headers", "data"])
async def test_the_variables_of_a_template_are_the_members_of_the_event(shared, session, own, member):
    template = f"{{{{ {member} | tojson }}}}"
    got, event, _ = await sent(session, shared, own, format={"template": template}, headers=EVENT_HEADERS)
    assert json.loads(got.body) == json.loads(event)[member]


async def test_a_template_is_jinja(shared, session, own):
    template = "{% for n in data %}{% if n is odd %}{{ n }};{% endif %}{% endfor %}"
    got, _, _ = await sent(session, shared, own, b"[1,2,3]", format={"template": template})
    assert got.body == b"1;3;"


async def test_a_template_is_sent_as_json_by_default(shared, session, own):
    got, _, _ = await sent(session, shared, own, format={"template": "[{{ offset }}]"})
    assert got.headers["content-type"] == "application/json"


async def test_a_template_is_sent_as_the_content_type_that_is_set(shared, session, own):
    got, _, _ = await sent(session, shared, own, format={"template": "<a/>"}, content_type="application/xml")
    assert (got.headers["content-type"], got.body) == ("application/xml", b"<a/>")


async def test_another_format_is_refused(shared, session, own):
    settings = {"url": "http://127.0.0.1:9/", "channels": ["a"], "format": "xml"}
    await refused(session, "PUT", f"{shared.url}/v1/connectors/{own}", 400, "format-invalid", json=settings)


# What stands around the body


async def test_each_attempt_is_a_post(shared, session, own):
    got, _, _ = await sent(session, shared, own)
    assert got.method == "POST"


async def test_webhook_id_is_evt_the_id_of_the_log_and_the_offset(shared, session, own):
    got, event, _ = await sent(session, shared, own)
    assert re.fullmatch(rf"evt_[0-9A-Za-z-]+_{json.loads(event)['offset']}", got.headers["webhook-id"])


async def test_the_id_of_the_log_is_one_for_all_its_events_and_another_for_another_log(brokers, session):
    ids = []
    for name in ("one", "two"):
        broker = brokers(name).start()
        async with endpoint() as receiver:
            await connect(session, broker, receiver)
            for n in range(2):
                await call(session, "POST", f"{broker.url}/v1/events/policy.a", json=n, expect=201)
            await eventually(lambda: len(receiver.requests) == 2, what="both requests")
            ids.append([got.headers["webhook-id"].rsplit("_", 1)[0] for got in receiver.requests])
    assert ids[0][0] == ids[0][1] != ids[1][0] == ids[1][1]


async def test_webhook_id_is_the_same_for_every_attempt_and_replay_and_another_for_every_event(shared, session, own):
    answers = iter([500, 500])
    async with endpoint(lambda event: next(answers, 200)) as receiver:
        await connect(session, shared, receiver, name=own, channels=[f"{own}.*"])
        for n in range(2):
            await call(session, "POST", f"{shared.url}/v1/events/{own}.e", json=n, expect=201)
        await eventually(lambda: len(receiver.accepted) == 2, what="both are taken")
        await act(session, shared, "replay", name=own, expect=202, **{"from": receiver.accepted[0]})
        await eventually(lambda: len(receiver.accepted) == 4, what="both came again")
        ids = {(got.offset, got.headers["webhook-id"]) for got in receiver.requests}
        assert len(receiver.requests) == 6 and len(ids) == len({id for _, id in ids}) == 2


async def test_webhook_timestamp_is_the_time_of_the_attempt_in_seconds(shared, session, own):
    before = int(time.time())
    got, _, _ = await sent(session, shared, own)
    assert before <= int(got.headers["webhook-timestamp"]) <= time.time()


@pytest.mark.parametrize("settings", [{}, {"format": "data"}, {"format": "cloudevents-binary"}, {"format": {"template": "x{{ offset }}"}}],
                         ids=["native", "data", "cloudevents-binary", "template"])
async def test_webhook_signature_is_that_of_standard_webhooks_over_the_body_as_sent(shared, session, own, settings):
    got, _, made = await sent(session, shared, own, **settings)
    at = datetime.datetime.fromtimestamp(int(got.headers["webhook-timestamp"]), datetime.timezone.utc)
    assert Webhook(made["secret"]).sign(got.headers["webhook-id"], at, got.body.decode()) == got.headers["webhook-signature"]


async def test_stentor_offset_is_the_offset(shared, session, own):
    got, event, _ = await sent(session, shared, own)
    assert got.headers["stentor-offset"] == str(json.loads(event)["offset"])


async def test_stentor_channel_is_the_channel(shared, session, own):
    got, _, _ = await sent(session, shared, own)
    assert got.headers["stentor-channel"] == f"{own}.e"


async def test_stentor_id_is_the_id_of_the_event(shared, session, own):
    got, event, _ = await sent(session, shared, own)
    assert got.headers["stentor-id"] == json.loads(event)["id"]


async def test_stentor_attempt_counts_from_1(shared, session, own):
    answers = iter([500, 503])
    async with endpoint(lambda event: next(answers, 200)) as receiver:
        await connect(session, shared, receiver, name=own, channels=[f"{own}.*"], retry=RETRY)
        await call(session, "POST", f"{shared.url}/v1/events/{own}.e", json=1, expect=201)
        await eventually(lambda: receiver.accepted, what="it is taken")
        assert [got.headers["stentor-attempt"] for got in receiver.requests] == ["1", "2", "3"]


async def test_a_delivery_that_is_no_replay_is_not_marked_as_one(shared, session, own):
    got, _, _ = await sent(session, shared, own)
    assert "stentor-replay" not in got.headers


async def test_the_headers_of_the_settings_go_with_every_attempt(shared, session, own):
    answers = iter([500])
    async with endpoint(lambda event: next(answers, 200)) as receiver:
        await connect(session, shared, receiver, name=own, channels=[f"{own}.*"], headers={"authorization": "Bearer abc123"})
        await call(session, "POST", f"{shared.url}/v1/events/{own}.e", json=1, expect=201)
        await eventually(lambda: receiver.accepted, what="it is taken")
        assert [got.headers["authorization"] for got in receiver.requests] == ["Bearer abc123"] * 2
