"""PROTOCOL.md, section 2: CloudEvents 1.0 at `POST /v1/events`."""

import json

import pytest
import websockets


STRUCTURED, BATCHED = "application/cloudevents+json", "application/cloudevents-batch+json"
DATA = {"n": 1}


def cloudevent(word, **attributes):
    return {"specversion": "1.0", "id": "1", "type": word, "source": "/ems", "data": DATA, **attributes}


def structured(event):
    return json.dumps(event).encode(), {"content-type": STRUCTURED}


def batched(event):
    return json.dumps([event]).encode(), {"content-type": BATCHED}


def binary(event):
    attributes = {f"ce-{name}": value for name, value in event.items() if name not in ("data", "datacontenttype")}
    return json.dumps(event["data"]).encode(), {"content-type": event.get("datacontenttype", "application/json"), **attributes}


modes = pytest.mark.parametrize("mode", [structured, batched, binary])


async def post(ask, mode, event, expect=201):
    """The answer, and the event as it is stored."""
    body, headers = mode(event)
    answer = await ask("POST", "/v1/events", expect, data=body, headers=headers)
    offset = answer.get("offset", answer.get("first_offset"))
    return answer, None if offset is None else await ask.event(offset)


async def test_structured_and_binary_mode_are_answered_as_one_event_and_a_batch_as_many(ask, word):
    for n, mode in enumerate((structured, binary)):
        answer, event = await post(ask, mode, cloudevent(word, id=str(n)))
        assert answer == {name: event[name] for name in ("offset", "id", "channel", "time")}
    answer, event = await post(ask, batched, cloudevent(word, id="2"))
    assert answer == {"first_offset": event["offset"], "last_offset": event["offset"], "count": 1, "duplicates": 0}


async def test_binary_mode_is_marked_by_ce_specversion(ask, word):
    body, headers = binary(cloudevent(word))
    del headers["ce-specversion"]
    await ask.refused("POST", "/v1/events", 400, "json-invalid", data=body, headers=headers)


@modes
async def test_type_is_the_channel_and_id_the_id(ask, word, mode):
    _, event = await post(ask, mode, cloudevent(f"{word}.made", id="a/7"))
    assert (event["channel"], event["id"], event["data"]) == (f"{word}.made", "a/7", DATA)


@modes
async def test_partitionkey_or_else_subject_is_the_key(ask, word, mode):
    _, event = await post(ask, mode, cloudevent(word, subject="s", partitionkey="p"))
    assert event["key"] == "p"
    _, event = await post(ask, mode, cloudevent(word, id="2", subject="s"))
    assert event["key"] == "s"
    _, event = await post(ask, mode, cloudevent(word, id="3"))
    assert "key" not in event


@modes
async def test_every_other_attribute_is_kept_as_a_header_ce_name(ask, word, mode):
    attributes = {"subject": "s", "partitionkey": "p", "time": "2026-11-21T10:00:00Z", "dataschema": "https://a.b/c", "shop": "one"}
    _, event = await post(ask, mode, cloudevent(word, datacontenttype="application/json", **attributes))
    assert event["headers"] == {"ce-source": "/ems", **{f"ce-{name}": value for name, value in attributes.items()}}


@modes
async def test_attributes_come_out_again(ask, word, mode):
    sent = cloudevent(word, subject="s", time="2026-11-21T10:00:00Z", shop="one")
    async with websockets.connect(f"{ask.broker.ws}?channels={word}", subprotocols=["cloudevents.json"]) as socket:
        await post(ask, mode, sent)
        read = json.loads(await socket.recv())
    assert {name: read[name] for name in sent} == sent


@modes
async def test_duplicates_are_told_by_channel_source_and_id(ask, word, mode):
    _, first = await post(ask, mode, cloudevent(word))
    answer, again = await post(ask, mode, cloudevent(word), expect=200)
    assert again == first and (answer.get("duplicate") or answer.get("duplicates") == 1)
    for other in ({"source": "/other"}, {"id": "2"}, {"type": f"{word}.other"}):
        await post(ask, mode, cloudevent(word, **other))
    await post(ask, mode, cloudevent(word, data={"n": 2}), expect=409)


@modes
async def test_a_type_or_id_outside_the_grammar_is_400(ask, word, mode):
    for attributes, code in (({"type": "a..b"}, "channel-invalid"), ({"type": "a b"}, "channel-invalid"),
                             ({"id": "a b"}, "id-invalid"), ({"id": "x" * 129}, "id-invalid")):
        body, headers = mode(cloudevent(word, **attributes))
        await ask.refused("POST", "/v1/events", 400, code, data=body, headers=headers)
    assert await ask.found(channels=word) == []
