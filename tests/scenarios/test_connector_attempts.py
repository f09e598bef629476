"""PROTOCOL.md section 7, `test` and `attempts`: what an endpoint answered, and never what it was trusted with."""

import json

from standardwebhooks import Webhook

from connecting import act, attempts, connect, publish, shown
from endpoint import endpoint
from harness import eventually, http, refused

TOKEN = "abc123-very-secret"


async def test_attempts_tell_time_offset_number_answer_latency_and_the_start_of_the_response(broker):
    async with http() as session, endpoint(lambda event: (503, "not\ntoday " + "x" * 1_000)) as receiver:
        await connect(session, broker, receiver)
        offset, = await publish(session, broker, 1)
        await eventually(lambda: len(receiver.requests) >= 2, what="two attempts")
        receiver.answer = lambda event: (200, "thanks")

        async def through():
            return (await shown(session, broker))["lag"] == 0
        await eventually(through, what="it is taken in the end")
        latest, *older = await attempts(session, broker)
        assert (latest["offset"], latest["status"], latest["error"], latest["response"]) == (offset, 200, None, "thanks")
        assert [attempt["attempt"] for attempt in (latest, *older)] == list(range(len(older) + 1, 0, -1))
        for attempt in older:
            assert attempt["status"] == 503 and attempt["response"].startswith("not today xxx")
            assert len(attempt["response"]) == 300 and attempt["latency_ms"] >= 0 and attempt["time"].endswith("Z")


async def test_an_endpoint_that_does_not_answer_is_told_as_an_error(broker):
    async with http() as session, endpoint() as receiver:
        await connect(session, broker, receiver, url="http://127.0.0.1:1/?key=in-the-url")
        await publish(session, broker, 1)

        async def tried():
            return await attempts(session, broker)
        latest = (await eventually(tried, what="an attempt"))[0]
        assert latest["status"] is None and latest["response"] is None and latest["error"]
        assert "in-the-url" not in latest["error"]


async def test_no_more_than_a_hundred_attempts_are_kept(broker):
    async with http() as session, endpoint(lambda event: 500) as receiver:
        await connect(session, broker, receiver, retry={"initial": "1ms", "max": "1ms", "give_up_after": 1}, channels=["n.*"])
        offsets = await publish(session, broker, *range(110), channel="n.n")
        await eventually(lambda: len(receiver.requests) == 110, what="all were tried")

        async def all_noted():
            kept = await attempts(session, broker)
            return kept[0]["offset"] == offsets[-1] and kept
        assert [attempt["offset"] for attempt in await eventually(all_noted)] == offsets[:9:-1]


async def test_an_endpoint_that_echoes_what_it_got_does_not_make_the_broker_tell_its_secrets(broker):
    async with http() as session, endpoint() as receiver:
        def echo(event):
            return 400, json.dumps(receiver.requests[-1].headers) + " token=" + TOKEN
        receiver.answer = echo
        connector = await connect(session, broker, receiver, headers={"authorization": f"Bearer {TOKEN}", "x-api-key": "k-42-k"})
        await publish(session, broker, 1)

        async def tried():
            return await attempts(session, broker)
        told = json.dumps(await eventually(tried, what="an attempt")) + json.dumps(await act(session, broker, "test"))
        assert "authorization" in told
        for secret in (TOKEN, "k-42-k", connector["secret"], connector["secret"][6:]):
            assert secret not in told


async def test_a_test_sends_a_signed_sample_and_says_what_came_back(broker):
    async with http() as session, endpoint(lambda event: (202, "noted")) as receiver:
        connector = await connect(session, broker, receiver, channels=["policy.*.**"])
        answer = await act(session, broker, "test")
        assert (answer["status"], answer["error"], answer["response"]) == (202, None, "noted")
        assert answer["latency_ms"] >= 0
        got, = receiver.requests
        event = Webhook(connector["secret"]).verify(got.body, got.headers)
        assert event["channel"] == got.headers["stentor-channel"] == "policy.sample.sample"
        assert event["data"] == {"sample": True, "connector": "ems"}
        assert got.headers["stentor-test"] == "true"
        # No receiver may take a real event for a repeat of it.
        assert "_test_" in got.headers["webhook-id"] and "." not in got.headers["webhook-id"]
        after = await shown(session, broker)
        assert (after["cursor"], after["end"], after["state"]) == (0, 0, "active"), "nothing was published, nothing follows"


async def test_a_test_of_an_endpoint_that_is_away_or_refuses_says_so(broker):
    async with http() as session, endpoint(lambda event: (401, "who are you")) as receiver:
        await connect(session, broker, receiver)
        assert (await act(session, broker, "test"))["status"] == 401
        await connect(session, broker, receiver, url="http://127.0.0.1:1/", expect=200)
        answer = await act(session, broker, "test", data={"policy": 1})
        assert answer["status"] is None and answer["error"] and answer["response"] is None
        await refused(session, "POST", f"{broker.url}/v1/connectors/nobody/test", 404, "connector-not-found")


async def test_a_template_can_be_tried_with_data_of_ones_own(broker):
    async with http() as session, endpoint() as receiver:
        await connect(session, broker, receiver, format={"template": "{{ data.policy }}"})
        assert "undefined" in (await act(session, broker, "test"))["error"]
        assert (await act(session, broker, "test", data={"policy": "p-1"}))["status"] == 200
        assert receiver.requests[0].body == b"p-1"
