"""PROTOCOL.md section 5: the subprotocol `cloudevents.json`."""

import json

import pytest

from harness import call, http
from talking import listen, publish

CLOUDEVENTS = ["cloudevents.json"]


async def test_cloudevents_json_is_echoed_and_sends_plain_cloudevents_one_a_frame(broker):
    await publish(broker, 2)
    await publish(broker, 1, channel="other")
    async with http() as session, listen(broker, CLOUDEVENTS, channels="key.*", **{"from": "earliest"}) as client:
        assert client.socket.subprotocol == "cloudevents.json"
        for n in range(2):
            _, event = await call(session, "GET", f"{broker.url}/v1/events/{n}", expect=200)
            frame = await client.frame()
            assert {name: frame[name] for name in ("specversion", "id", "type", "source", "time", "data")} == {
                "specversion": "1.0", "id": event["id"], "type": "key.activated", "source": "/channels/key.activated",
                "time": event["time"], "data": n}
        await client.silent()
        headers = {"content-type": "application/json", "ce-specversion": "1.0", "ce-id": "i", "ce-type": "key.made",
                   "ce-source": "/shop", "ce-subject": "k", "ce-colour": "red"}
        await call(session, "POST", f"{broker.url}/v1/events", data=b'{"a": 1}', headers=headers, expect=201)
        frame = await client.frame()
        assert {name: frame[name] for name in ("id", "type", "source", "subject", "colour", "data")} == {
            "id": "i", "type": "key.made", "source": "/shop", "subject": "k", "colour": "red", "data": {"a": 1}}


async def test_nothing_but_cloudevents_is_sent_there(broker):
    await publish(broker, 1)
    async with listen(broker, CLOUDEVENTS, channels="**") as client:
        await client.silent()
        await publish(broker, 3)
        for n in range(3):
            text = await client.text()
            frame = json.loads(text)
            assert frame["specversion"] == "1.0" and frame["data"] == n and "op" not in frame, text
        await client.silent()


@pytest.mark.parametrize("query", [
    {}, {"channels": "a", "subscriber": "x"}, {"channels": "a..b"}, {"channels": "a", "batch": 3}, {"channels": "a", "from": "9"},
], ids=str)
async def test_it_is_for_anonymous_sessions_by_query(broker, query):
    async with listen(broker, CLOUDEVENTS, **query) as client:
        assert await client.closed() == 4500
    async with http() as session:
        _, found = await call(session, "GET", broker.url + "/v1/subscribers", expect=200)
        assert found["subscribers"] == []


async def test_it_takes_no_frames(broker):
    for frame in ('{"op":"ping"}', "nonsense"):
        async with listen(broker, CLOUDEVENTS, channels="a") as client:
            await client.socket.send(frame)
            assert await client.closed() == 4500
    async with listen(broker, CLOUDEVENTS, channels="a") as client:
        await client.socket.send(b"{}")
        assert await client.closed() == 1003


async def test_who_offers_both_gets_the_first_that_the_broker_knows(broker):
    async with listen(broker, ["stentor.v1.json", *CLOUDEVENTS]) as client:
        assert client.socket.subprotocol == "stentor.v1.json"


async def test_offsets_that_retention_took_are_told_there_as_an_event_of_the_brokers_own(halved):
    async with listen(halved, CLOUDEVENTS, channels="old.*", **{"from": 0}) as client:
        frame = await client.frame()
        assert (frame["specversion"], frame["type"], frame["data"]) == ("1.0", "$stentor.gap", {"from": 0, "to": 4})
        assert (await client.frame())["data"]["n"] == 4
