"""PROTOCOL.md section 7, `replay` and `rate_limit`: a range goes out again, and nobody's cursor knows of it."""

import itertools
import json

from standardwebhooks import Webhook

from connecting import RETRY, act, attempts, connect, publish, receipts, shown, standing
from endpoint import endpoint
from harness import eventually, http, never, refused


async def delivered(session, broker, receiver, count):
    await publish(session, broker, *range(count))
    await eventually(lambda: len(receiver.accepted) == count, what="everything was delivered")


async def test_a_replay_sends_a_range_again_marked_signed_and_without_moving_the_cursor(broker):
    async with http() as session, endpoint() as receiver:
        connector = await connect(session, broker, receiver)
        await delivered(session, broker, receiver, 6)
        await publish(session, broker, "not asked for", channel="key.activated")
        answer = await act(session, broker, "replay", **{"from": 1, "to": 4}, expect=202)
        assert answer["events"] == 3 and answer["replay"]
        await eventually(lambda: len(receiver.requests) == 9, what="the replay is over")
        first, again = receiver.requests[:6], receiver.requests[6:]
        assert [got.offset for got in again] == [1, 2, 3]
        assert all(got.headers["stentor-replay"] == "true" for got in again)
        assert not any("stentor-replay" in got.headers for got in first)
        assert [got.headers["webhook-id"] for got in again] == [got.headers["webhook-id"] for got in first[1:4]]
        for got in again:
            assert Webhook(connector["secret"]).verify(got.body, got.headers)["offset"] == got.offset

        async def receipted():
            found = [r for r in await receipts(session, broker, subscriber="ems") if r.get("replay") == answer["replay"]]
            return len(found) == 3 and found
        found = await eventually(receipted, what="three receipts of the replay")
        assert [(r["from"], r["to"], r["outcome"], r["status"]) for r in found] == [(n, n + 1, "acked", 200) for n in (1, 2, 3)]
        after = await shown(session, broker)
        assert (after["cursor"], after["lag"], after["state"]) == (7, 0, "active")
        assert (await attempts(session, broker))[0]["replay"] == answer["replay"]


async def test_a_replay_to_another_url_goes_there_and_takes_no_credentials_along(broker):
    async with http() as session, endpoint() as receiver, endpoint() as elsewhere:
        connector = await connect(session, broker, receiver, headers={"authorization": "Bearer abc123"})
        await delivered(session, broker, receiver, 3)
        await act(session, broker, "replay", **{"from": "earliest", "url": elsewhere.url}, expect=202)
        await eventually(lambda: elsewhere.accepted == [0, 1, 2], what="the replay is over")
        assert len(receiver.requests) == 3 and receiver.requests[0].headers["authorization"] == "Bearer abc123"
        for got in elsewhere.requests:
            Webhook(connector["secret"]).verify(got.body, got.headers)
            assert "authorization" not in got.headers, "another server is not shown what is meant for this one"


async def test_a_replay_tries_again_what_is_refused_and_says_what_it_gave_up(broker):
    async with http() as session, endpoint() as receiver, endpoint(lambda event: 500 if event["offset"] == 1 else 200) as other:
        await connect(session, broker, receiver, retry={**RETRY, "give_up_after": 2})
        await delivered(session, broker, receiver, 3)
        replay = await act(session, broker, "replay", **{"from": 0, "url": other.url}, expect=202)
        await eventually(lambda: other.attempts == [0, 1, 1, 2], what="the replay is over")

        async def receipted():
            found = [r for r in await receipts(session, broker, subscriber="ems") if "replay" in r]
            return len(found) == 3 and found
        found = await eventually(receipted, what="its receipts")
        assert [(r["outcome"], r["attempts"], r.get("reason")) for r in found] == [
            ("acked", 1, None), ("dead", 2, "answered 500"), ("acked", 1, None)]
        assert {r["replay"] for r in found} == {replay["replay"]}
        assert (await standing(session, broker, 1))["state"] == "acked", "the delivery itself went well"


async def test_a_rate_limit_holds_for_deliveries_and_replays_together(broker):
    async with http() as session, endpoint() as receiver:
        connector = await connect(session, broker, receiver, rate_limit="40/s", in_flight=8)
        assert connector["rate_limit"] == (await shown(session, broker))["rate_limit"] == "40/s"
        await publish(session, broker, *range(10))
        await act(session, broker, "replay", **{"from": 0}, expect=202)
        await eventually(lambda: len(receiver.requests) == 20, what="everything came twice")
        came = sorted(got.came for got in receiver.requests)
        # Halves, because what is sent in time may come late: the exact pace is the desk's own test.
        assert came[-1] - came[0] >= 19 * 0.025 / 2
        assert all(later - earlier >= 0.2 / 2 for earlier, later in zip(came, itertools.islice(came, 8, None)))


async def test_a_rate_limit_is_kept_over_a_restart_and_taken_away_by_leaving_it_out(broker):
    async with endpoint() as receiver, http() as session:
        await connect(session, broker, receiver, rate_limit="2/h")
        await publish(session, broker, "first")
        await eventually(lambda: receiver.accepted == [0], what="the first goes at once")
        await publish(session, broker, "second")
        await never(lambda: len(receiver.accepted) > 1, within=0.5, what="the second has to wait for half an hour")
        assert (await shown(session, broker))["lag"] == 1
        broker.stop()
        broker.start()
        assert (await shown(session, broker))["rate_limit"] == "2/h"
        await connect(session, broker, receiver, expect=200)
        await eventually(lambda: receiver.accepted == [0, 1], what="without a limit it goes at once")
        assert (await shown(session, broker))["rate_limit"] is None


async def test_a_replay_that_makes_no_sense_is_refused(broker):
    async with http() as session, endpoint() as receiver:
        await connect(session, broker, receiver)
        await delivered(session, broker, receiver, 2)
        path = f"{broker.url}/v1/connectors/ems/replay"
        for code, body in [("offset-beyond-end", {"from": 3}), ("from-invalid", {"from": "nowhere"}), ("json-invalid", {}),
                           ("rate-invalid", {"from": 0, "rate": "fast"}), ("url-invalid", {"from": 0, "url": "ftp://a/"}),
                           ("url-invalid", {"from": 0, "url": "http://10.0.0.1/"}), ("json-invalid", {"from": 0, "speed": 1})]:
            await refused(session, "POST", path, 400, code, json=body)
        await refused(session, "POST", f"{broker.url}/v1/connectors/nobody/replay", 404, "connector-not-found", json={"from": 0})
        assert (await act(session, broker, "replay", **{"from": 2}, expect=202))["events"] == 0
        assert len(receiver.requests) == 2


async def test_an_orderly_stop_ends_a_replay_and_its_receipts_tell_how_far_it_came(broker):
    async with http() as session, endpoint() as receiver:
        await connect(session, broker, receiver)
        await delivered(session, broker, receiver, 20)
        replay = await act(session, broker, "replay", **{"from": 0, "rate": "10/s"}, expect=202)
        await eventually(lambda: len(receiver.requests) >= 23, what="some of it")
        broker.stop()
        sent = len(receiver.requests) - 20
        assert sent < 20
        broker.start()
    async with http() as session:
        found = [r["from"] for r in await receipts(session, broker, subscriber="ems") if r.get("replay") == replay["replay"]]
        assert found == list(range(sent)), json.dumps(found)
        assert (await shown(session, broker))["lag"] == 0
