"""PROTOCOL.md section 5: `error`. The connection stays open."""

import pytest

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
