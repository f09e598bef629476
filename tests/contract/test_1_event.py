"""PROTOCOL.md, section 1: the event as JSON."""

import base64
import datetime
import json
import re
import uuid

import pytest

from asking import JSON
from endpoint import endpoint
from harness import eventually
from sse import stream

EVENT = {"key": "openai_primary", "headers": {"traceparent": "00-1", "shop": "Grüße"},
         "data": {"provider": "openai_primary"}}


async def published(ask, word):
    """An event with everything, as it is read over HTTP."""
    return await ask.event((await ask.many({"channel": word, "id": word, **EVENT}))["first_offset"])


async def test_an_event_has_offset_id_channel_time_key_headers_and_data(ask, word):
    event = await published(ask, word)
    assert set(event) == {"offset", "id", "channel", "time", "key", "headers", "data"}
    assert {**event, **EVENT, "id": word, "channel": word} == event
    assert isinstance(event["offset"], int) and isinstance(event["time"], str)


async def http_range(ask, event):
    found, = (await ask.get("/v1/events", channels=event["channel"]))["events"]
    return found


async def websocket(ask, event):
    async with ask.listening(channels=event["channel"], **{"from": event["offset"]}) as listener:
        frame = await listener.event()
        assert frame.pop("op") == "event"
        return frame


async def websocket_batch(ask, event):
    async with ask.listening(channels=event["channel"], batch="5", **{"from": event["offset"]}) as listener:
        return await listener.event()


async def server_sent(ask, event):
    async with stream(ask.session, ask.broker, channels=event["channel"], **{"from": event["offset"]}) as events:
        return (await events.events(1))[0]


async def webhook(ask, event):
    async with endpoint() as called:
        await ask.put(event["channel"], kind="connector", url=called.url, channels=[event["channel"]],
                      **{"from": event["offset"]})
        await eventually(lambda: called.requests, what="the endpoint is called")
        return json.loads(called.requests[0].body)


async def export(ask, event):
    return json.loads((await ask.text("/v1/export", channels=event["channel"])).splitlines()[0])


async def pull(ask, event):
    await ask.put(event["channel"], channels=[event["channel"]], **{"from": event["offset"]})
    return (await ask.pull(event["channel"]))["events"][0]


async def preview(ask, event):
    return (await ask.post("/v1/preview", {"channels": [event["channel"]]}))["events"][0]


@pytest.mark.parametrize("way", [http_range, websocket, websocket_batch, server_sent, webhook, export, pull, preview])
async def test_it_is_the_same_object_everywhere(ask, word, way):
    event = await published(ask, word)
    assert await way(ask, event) == event


async def test_the_id_is_the_publishers(ask, word):
    assert (await ask.publish(word, idempotency_key="mine"))["id"] == "mine"
    assert (await published(ask, word))["id"] == word


async def test_without_one_the_id_is_a_uuid_version_7_that_the_broker_makes(ask, word):
    published = await ask.publish(word)
    made = uuid.UUID(published["id"])
    assert (made.version, made.variant, str(made)) == (7, uuid.RFC_4122, published["id"])
    assert (await ask.publish(word))["id"] != published["id"]
    assert (await ask.event(published["offset"]))["id"] == published["id"]


async def test_the_time_is_the_brokers_in_utc_with_microseconds(ask, word):
    before = datetime.datetime.now(datetime.UTC)
    time = (await ask.publish(word))["time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time)
    assert before <= datetime.datetime.fromisoformat(time) <= datetime.datetime.now(datetime.UTC)


async def test_the_time_is_never_earlier_than_the_event_before_it(ask, word):
    first = (await ask.many(*[word] * 50))["first_offset"]
    for _ in range(10):
        await ask.publish(word)
    times = [event["time"] for event in (await ask.get("/v1/events", **{"from": first}))["events"]]
    assert len(times) == 60 and times == sorted(times)


async def test_key_and_headers_are_optional_and_absent_without_a_value(ask, word):
    event = await ask.event((await ask.publish(word))["offset"])
    assert set(event) == {"offset", "id", "channel", "time", "data"}


async def test_headers_are_string_to_string(ask, word):
    for headers in ({"a": 1}, {"a": None}, {"a": ["b"]}, ["a"], "a"):
        problem = await ask.refused("POST", "/v1/events", 400, "json-invalid",
                                    json=[{"channel": word, "data": 1, "headers": headers}])
        assert problem["field"] == "headers"


async def test_names_of_headers_are_in_lower_case(ask, word):
    offset = (await ask.publish(word, **{"Stentor-Header-Shop": "One"}))["offset"]
    assert (await ask.event(offset))["headers"] == {"shop": "One"}
    upper = {"channel": word, "data": 1, "headers": {"Shop": "One"}}
    await ask.refused("POST", "/v1/events", 400, "headers-invalid", json=[upper])


async def test_there_are_at_most_32_headers(ask, word):
    headers = {f"h{n}": "v" for n in range(32)}
    await ask.many({"channel": word, "data": 1, "headers": headers})
    await ask.refused("POST", "/v1/events", 400, "headers-invalid",
                      json=[{"channel": word, "data": 1, "headers": {**headers, "h32": "v"}}])


async def test_headers_have_at_most_8_kib_together(ask, word):
    headers = {"a": "v" * 4095, "b": "v" * 4095}
    await ask.many({"channel": word, "data": 1, "headers": headers})
    headers["b"] += "v"
    await ask.refused("POST", "/v1/events", 400, "headers-invalid", json=[{"channel": word, "data": 1, "headers": headers}])


@pytest.mark.parametrize("data", [
    "null", "true", "1.50", "-0", "1E400", "123456789012345678901234567890", '""', "[]", "{}", '{"a":1,"a":2}',
    '{ "b" : [1 ,2],\t"a":"\\u00e9\\/é" }', '"\\ud83d\\ude00 😀"', '"\\n\\r"'])
async def test_data_is_any_json_value_byte_for_byte_as_published(ask, word, data):
    answer = await ask("POST", f"/v1/events/{word}", 201, data=data.encode(), headers=JSON)
    assert (await ask.text(f"/v1/events/{answer['offset']}")).endswith(f'"data":{data}}}')


async def test_each_raw_cr_or_lf_between_tokens_becomes_a_space(ask, word):
    written = '{\r\n"a":\n\n[1,\r2],\t"b":"\\r\\n"}'
    answer = await ask("POST", f"/v1/events/{word}", 201, data=written.encode(), headers=JSON)
    stored = '{  "a":  [1, 2],\t"b":"\\r\\n"}'
    assert (await ask.text(f"/v1/events/{answer['offset']}")).endswith(f'"data":{stored}}}')


@pytest.mark.parametrize("kind", ["image/png", "text/plain; charset=utf-8", "application/xml"])
async def test_a_payload_of_another_content_type_has_content_type_and_data_base64_in_its_place(ask, word, kind):
    body = bytes(range(256))
    answer = await ask("POST", f"/v1/events/{word}", 201, data=body, headers={"content-type": kind})
    event = await ask.event(answer["offset"])
    assert set(event) == {"offset", "id", "channel", "time", "content_type", "data_base64"}
    assert (event["content_type"], base64.b64decode(event["data_base64"], validate=True)) == (kind, body)
