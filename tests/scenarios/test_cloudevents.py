"""CloudEvents 1.0 in and out, held against the Python SDK: PROTOCOL.md section 2."""

import base64
import json
import urllib.parse

import pytest
import websockets
from cloudevents.core.bindings.http import (HTTPMessage, from_http_event, to_binary_event, to_structured_event)
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from harness import call, http, refused

pytestmark = pytest.mark.asyncio
STRUCTURED, BATCHED = "application/cloudevents+json", "application/cloudevents-batch+json"


def cloudevent(data=None, **attributes):
    return {"specversion": "1.0", "id": "1", "type": "policy.approved", "source": "/ems",
            **attributes, **({} if data is None else {"data": data})}


async def post(session, broker, body, kind=STRUCTURED, **headers):
    body = body if isinstance(body, (bytes, str)) else json.dumps(body)
    return await call(session, "POST", f"{broker.url}/v1/events", data=body,
                      headers={"content-type": kind, **headers})


async def stored(session, broker, offset=0):
    return (await call(session, "GET", f"{broker.url}/v1/events/{offset}", expect=200))[1]


async def test_data_is_kept_byte_for_byte(broker):
    async with http() as session:
        body = '{"specversion":"1.0","id":"1","type":"a","source":"/s","data": {"n": 1.0e5,  "b":"\\u00e9"}}'
        await post(session, broker, body)
        async with session.get(f"{broker.url}/v1/events/0") as answer:
            assert '"data":{"n": 1.0e5,  "b":"\\u00e9"}' in await answer.text()


async def test_a_batch_is_published_whole_or_not_at_all(broker):
    async with http() as session:
        events = [cloudevent(n, id=str(n)) for n in range(3)]
        status, answer = await post(session, broker, events, BATCHED)
        assert (status, answer) == (201, {"first_offset": 0, "last_offset": 2, "count": 3, "duplicates": 0})
        events = [cloudevent(7, id="7"), {**cloudevent(8, id="8"), "source": ""}]
        problem = await refused(session, "POST", f"{broker.url}/v1/events", 400, "attribute-invalid",
                                data=json.dumps(events), headers={"content-type": BATCHED})
        assert problem["line"] == 2 and "source" in problem["detail"]
        assert (await call(session, "GET", f"{broker.url}/v1/events"))[1]["end"] == 3


async def test_binary_mode_takes_attributes_from_headers_and_data_from_the_body(broker):
    async with http() as session:
        attributes = {"ce-specversion": "1.0", "ce-id": "b", "ce-type": "a.b", "ce-source": "/x",
                      "ce-note": urllib.parse.quote('Grüße "%"')}
        assert (await post(session, broker, '{"n": 1}', "application/json", **attributes))[0] == 201
        event = await stored(session, broker)
        assert event["data"] == {"n": 1}
        assert event["headers"] == {"ce-source": "/x", "ce-note": 'Grüße "%"'}
        attributes["ce-id"] = "c"
        assert (await post(session, broker, b"\x00\xff", "image/png", **attributes))[0] == 201
        event = await stored(session, broker, 1)
        assert (event["content_type"], base64.b64decode(event["data_base64"])) == ("image/png", b"\x00\xff")


async def test_what_the_python_sdk_writes_is_taken_and_comes_out_the_same(broker):
    async with http() as session:
        for n, write in enumerate([to_structured_event, to_binary_event]):
            event = CloudEvent({"id": f"sdk-{n}", "type": "sdk.made", "source": "/sdk", "subject": "k",
                                "datacontenttype": "application/json", "shop": "one & two"}, {"n": n})
            message = write(event, JSONFormat())
            async with session.post(f"{broker.url}/v1/events", data=message.body, headers=message.headers) as answer:
                assert answer.status == 201, await answer.text()
        async with websockets.connect(f"{broker.ws}?channels=sdk.*&from=earliest",
                                      subprotocols=["cloudevents.json"]) as socket:
            assert socket.subprotocol == "cloudevents.json"
            for n in range(2):
                frame = await socket.recv()
                read = from_http_event(HTTPMessage({"content-type": STRUCTURED}, frame.encode()), JSONFormat())
                assert (read.get_id(), read.get_type(), read.get_source()) == (f"sdk-{n}", "sdk.made", "/sdk")
                assert (read.get_subject(), read.get_extension("shop")) == ("k", "one & two")
                assert read.get_data() == {"n": n}
                assert read.get_extension("sequence") == f"{n:020}"


BAD = [
    ({"id": "1", "type": "a", "source": "/s"}, "attribute-invalid", "specversion"),
    (cloudevent(1, specversion="0.3"), "attribute-invalid", "specversion"),
    (cloudevent(1, type="a..b"), "channel-invalid", "channel"),
    (cloudevent(1, id="a b"), "id-invalid", "id"),
    (cloudevent(1, source=None), "attribute-invalid", "source"),
    (cloudevent(1, Upper="x"), "attribute-invalid", "Upper"),
    (cloudevent(1, list=[1]), "attribute-invalid", "list"),
    (cloudevent(1, time="noon"), "attribute-invalid", "time"),
    (cloudevent({}, datacontenttype="text/plain"), "data-invalid", "data"),
    (cloudevent(1, data_base64="AA=="), "data-invalid", "data_base64"),
    (cloudevent(None, data_base64="?"), "data-base64-invalid", "base64"),
    ("[]", "json-invalid", "object"),
    ("{", "json-invalid", ""),
]


@pytest.mark.parametrize("body, code, named", BAD)
async def test_what_is_no_cloudevent_is_refused_by_name(broker, body, code, named):
    async with http() as session:
        body = body if isinstance(body, str) else json.dumps(body)
        problem = await refused(session, "POST", f"{broker.url}/v1/events", 400, code, data=body,
                                headers={"content-type": STRUCTURED})
        assert named in problem["detail"], problem
        assert (await call(session, "GET", f"{broker.url}/v1/events"))[1]["end"] == 0


async def test_a_header_beside_an_envelope_must_not_name_another_version(broker):
    # Found by schemathesis: in structured mode any ce-specversion was taken.
    async with http() as session:
        url, body = f"{broker.url}/v1/events", json.dumps(cloudevent(1))
        for version in ("+", "0.3"):
            problem = await refused(session, "POST", url, 400, "attribute-invalid", data=body,
                                    headers={"content-type": STRUCTURED, "ce-specversion": version})
            assert "specversion" in problem["detail"], problem
        await call(session, "POST", url, data=body, expect=201,
                   headers={"content-type": STRUCTURED, "ce-specversion": "1.0"})


async def test_a_type_of_the_brokers_own_is_refused(broker):
    async with http() as session:
        await refused(session, "POST", f"{broker.url}/v1/events", 403, "channel-reserved",
                      data=json.dumps(cloudevent(1, type="$stentor.x")), headers={"content-type": STRUCTURED})


async def test_an_event_over_the_limit_is_413_in_every_mode(broker):
    async with http() as session:
        large = "x" * (1 << 20)
        url = f"{broker.url}/v1/events"
        await refused(session, "POST", url, 413, "too-large", data=json.dumps(cloudevent(large)),
                      headers={"content-type": STRUCTURED})
        binary = {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "a", "ce-source": "/x"}
        await refused(session, "POST", url, 413, "too-large", data=json.dumps(large),
                      headers={"content-type": "application/json", **binary})
        assert (await post(session, broker, cloudevent("x" * (64 << 10))))[0] == 201


async def test_in_binary_mode_nothing_is_said_twice(broker):
    async with http() as session:
        url = f"{broker.url}/v1/events"
        attributes = {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "a", "ce-source": "/x"}
        for name, value, code in (("stentor-key", "k", "key-invalid"), ("idempotency-key", "2", "id-invalid")):
            await refused(session, "POST", url, 400, code, data="1", headers={**attributes, name: value})
        assert (await post(session, broker, "1", "application/json", **attributes, **{"idempotency-key": '"1"'}))[0] == 201
