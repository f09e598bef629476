"""PROTOCOL.md section 5: `error`. The connection stays open."""

import pytest

from harness import ROOT, call, http
from talking import listen, publish, stands_in, start, subscriber


async def test_ping_is_answered_by_pong(broker):
    async with listen(broker) as client:
        await client.say("ping")
        assert await client.frame() == {"op": "pong"}


@pytest.mark.parametrize("text", [
    "", "{", "nonsense", "null", "1", "[]", '["ping",null]', '"ping"', "{}", '{"op":null}', '{"op":1}', '{"op":"nonsense"}',
    '{"op":"PING"}', '{"op":"ping"} {"op":"ping"}', '{"op":"ping","nonsense":1}', '{"op":"ack"}', '{"op":"ack","offset":-1}',
    '{"op":"ack","offset":1.5}', '{"op":"ack","offset":"x"}', '{"op":"ack","offset":0,"offsets":[0]}',
    '{"op":"ack","offset":0,"nonsense":1}', '{"op":"ack","offset":0,"confirm":"yes"}', '{"op":"nack"}',
    '{"op":"nack","offset":0,"delay":"5"}', '{"op":"nack","offset":0,"delay":5}', '{"op":"nack","offset":0,"nonsense":1}',
    '{"op":"reject","offset":0,"reason":5}', '{"op":"reject","offset":0,"nonsense":1}', '{"op":"working"}',
    '{"op":"working","offset":0,"nonsense":1}', '{"op":"subscribe","channels":["**"],"nonsense":1}',
    '{"op":"subscribe","channels":"**"}', '{"op":"subscribe","channels":[]}', '{"op":"publish","channel":"a","data":1,"nonsense":1}',
    '{"op":"publish","events":[["a",1,null,null,{},null,null]]}', '{"op":"publish"}',
])
async def test_bad_json_an_unknown_op_and_unknown_members_are_errors_and_the_connection_stays_open(broker, text):
    await publish(broker, 1)
    async with listen(broker, channels="key.*", subscriber="ui", **{"from": "earliest"}) as client:
        await start(client, 1)
        await client.socket.send(text)
        await client.refused()
        shown = await subscriber(broker, "ui")
        assert (shown["cursor"], shown["open"], shown["end"]) == (0, 1, 1), "it had no effect"


@pytest.mark.parametrize("frame, field", [
    ({"channels": "key.*"}, "channels"), ({"channels": ["a..b"]}, "channels"), ({"channels": []}, "channels"),
    ({"channels": [5]}, "channels"), ({"channels": ["**"], "subscriber": "not a name"}, "subscriber"),
    ({"channels": ["**"], "subscriber": 5}, "subscriber"), ({"channels": ["**"], "from": "nowhere"}, "from"),
    ({"channels": ["**"], "from": 1_000}, "from"), ({"channels": ["**"], "from": -1}, "from"),
    ({"channels": ["**"], "subscriber": "s", "window": 0}, "window"),
    ({"channels": ["**"], "subscriber": "s", "window": "9"}, "window"), ({"channels": ["**"], "window": 0}, "window"),
    ({"channels": ["**"], "subscriber": "s", "ack_timeout": "5"}, "ack_timeout"),
    ({"channels": ["**"], "subscriber": "s", "ack_timeout": 5}, "ack_timeout"),
    ({"channels": ["**"], "batch": 0}, "batch"), ({"channels": ["**"], "batch": "x"}, "batch"), ({}, "channels"),
    ({"subscriber": "new"}, "channels"),
], ids=str)
async def test_a_bad_subscribe_frame_is_an_error_that_names_the_field_and_the_connection_stays_open(broker, frame, field):
    async with listen(broker) as client:
        await client.say("subscribe", **frame)
        error = await client.refused()
        assert stands_in(field, error["detail"]), error
        await client.say("subscribe", channels=["**"])
        await client.expect("subscribed")


LONG = "x" * 129
AS_HTTP_SAYS = [
    ("/v1/events/a..b", 1, {"op": "publish", "channel": "a..b", "data": 1}),
    ("/v1/events/$stentor.x", 1, {"op": "publish", "channel": "$stentor.x", "data": 1}),
    ("/v1/events/key.on", "x" * (1 << 20), {"op": "publish", "channel": "key.on", "data": "x" * (1 << 20)}),
    ("/v1/events", [{"channel": "key.on", "data": 1, "id": LONG}], {"op": "publish", "channel": "key.on", "data": 1, "id": LONG}),
    ("/v1/events", [{"channel": "key.on", "data": 1, "key": ""}], {"op": "publish", "channel": "key.on", "data": 1, "key": ""}),
    ("/v1/events", [{"channel": "key.on", "data": 1, "headers": {"A": ""}}],
     {"op": "publish", "channel": "key.on", "data": 1, "headers": {"A": ""}}),
    ("/v1/events", [{"channel": "key.on", "data": 2, "id": "taken"}], {"op": "publish", "channel": "key.on", "data": 2, "id": "taken"}),
    ("/v1/events", [], {"op": "publish", "events": []}),
    ("/v1/subscribers/ui/ack", {"offset": 7}, {"op": "ack", "offset": 7}),
    ("/v1/subscribers/ui/ack", {"offset": "x"}, {"op": "ack", "offset": "x"}),
    ("/v1/subscribers/ui/ack", {"offset": 0, "nonsense": 1}, {"op": "ack", "offset": 0, "nonsense": 1}),
]


@pytest.mark.parametrize("path, body, frame", AS_HTTP_SAYS, ids=range(len(AS_HTTP_SAYS)))
async def test_code_is_the_last_part_of_the_problems_type(broker, path, body, frame):
    async with http() as session, listen(broker, channels="key.*", subscriber="ui") as client:
        await start(client, 0)
        await call(session, "POST", f"{broker.url}/v1/events", json=[{"channel": "key.on", "data": 1, "id": "taken"}], expect=201)
        await client.events(1)
        status, problem = await call(session, "POST", broker.url + path, json=body)
        assert status >= 400
        await client.say(**frame)
        error = await client.refused(problem["type"].rpartition("/")[2])
        assert set(error) == {"op", "code", "detail"}, "without a ref in the frame there is none in the answer"
        assert f"`{error['code']}`" in (ROOT / "docs" / "ERRORS.md").read_text(), "it is listed"


async def test_an_error_has_the_ref_of_the_publish_that_was_refused(broker):
    async with listen(broker) as client:
        for n, ref in enumerate(("1", "two", "")):
            await client.say("publish", ref=ref, channel="a..b", data=n)
            error = await client.refused("channel-invalid")
            assert error["ref"] == ref and set(error) == {"op", "code", "detail", "ref"}
