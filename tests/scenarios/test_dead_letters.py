"""PROTOCOL.md section 7, dead letters: nothing that was given up is out of sight, and a connector can try it again."""

import json

import websockets

from connecting import RETRY, act, attempts, connect, dead_letters, publish, receipts, shown, standing
from endpoint import endpoint
from harness import call, eventually, http, refused

GIVE_UP = {**RETRY, "give_up_after": 2}


async def given_up(session, broker, count, **query):
    async def so_many():
        found = (await dead_letters(session, broker, **query))["dead_letters"]
        return len(found) == count and (found,)
    return (await eventually(so_many, what=f"{count} dead letters"))[0]


async def retry(session, broker, *offsets, subscriber="ems", expect=202):
    body = {"subscriber": subscriber, "offsets": list(offsets)}
    return (await call(session, "POST", f"{broker.url}/v1/dead-letters/retry", json=body, expect=expect))[1]


async def test_a_dead_letter_is_listed_and_a_retry_that_is_taken_makes_its_receipt_acked(broker):
    async with http() as session, endpoint(lambda event: 500 if event["offset"] == 1 else 200) as receiver:
        await connect(session, broker, receiver, retry=GIVE_UP)
        await publish(session, broker, "a", "b", "c")
        letter, = await given_up(session, broker, 1)
        assert letter.pop("time").endswith("Z")
        assert letter == {"subscriber": "ems", "offset": 1, "channel": "policy.approved", "attempts": 2, "reason": "answered 500"}
        assert (await standing(session, broker, 1))["state"] == "dead"
        receiver.answer = lambda event: 200
        assert await retry(session, broker, 1) == {"queued": 1}
        await given_up(session, broker, 0)
        stands = await standing(session, broker, 1)
        assert (stands["state"], stands["attempts"]) == ("acked", 3)
        assert receiver.requests[-1].attempt == 3 and json.loads(receiver.requests[-1].body)["data"] == "b"
        assert len({got.headers["webhook-id"] for got in receiver.requests if got.offset == 1}) == 1
        assert [r["outcome"] for r in await receipts(session, broker, offset=1)] == ["dead", "acked"]

        async def through():
            return (await shown(session, broker))["cursor"] == 3
        await eventually(through, what="the one behind it is acknowledged too")


async def test_a_retry_that_fails_again_is_a_dead_letter_again_with_its_new_reason(broker):
    async with http() as session, endpoint(lambda event: 500) as receiver:
        await connect(session, broker, receiver, retry=GIVE_UP)
        await publish(session, broker, "a")
        await given_up(session, broker, 1)
        receiver.answer = lambda event: 422
        await retry(session, broker, 0)

        async def died_again():
            letter, = (await dead_letters(session, broker))["dead_letters"]
            return letter["reason"] == "answered 422" and letter
        assert (await eventually(died_again, what="it dies again"))["attempts"] == 4
        assert [r["outcome"] for r in await receipts(session, broker, offset=0)] == ["dead", "dead"]
        receiver.answer = lambda event: 200
        await retry(session, broker, 0)
        await given_up(session, broker, 0)


async def test_retries_go_out_of_order_and_one_that_fails_holds_up_no_other(broker):
    async with http() as session, endpoint(lambda event: 500) as receiver:
        await connect(session, broker, receiver, retry=GIVE_UP)
        offsets = await publish(session, broker, *range(6))
        await given_up(session, broker, 6)
        await connect(session, broker, receiver, retry={"initial": "20ms", "max": "20ms"}, expect=200)
        first, *others = offsets
        receiver.answer = lambda event: 500 if event["offset"] == first else 200
        assert await retry(session, broker, *reversed(offsets), others[2], others[2]) == {"queued": 6}
        await given_up(session, broker, 1)
        # Not 1 to 5: what the broker says of its connector takes an offset too.
        assert sorted(receiver.accepted) == others
        # What waits is not taken twice.
        assert await retry(session, broker, first) == {"queued": 1}
        receiver.answer = lambda event: 200
        await given_up(session, broker, 0)
        assert receiver.accepted.count(first) == 1


async def test_pages_give_every_dead_letter_once_of_one_or_of_all(broker):
    async with http() as session, endpoint(lambda event: 500) as receiver:
        for name in ("a", "b"):
            await connect(session, broker, receiver, name=name, retry={**RETRY, "give_up_after": 1})
        await publish(session, broker, *range(5))
        await given_up(session, broker, 10)
        found, after = [], {}
        while after is not None:
            page = await dead_letters(session, broker, limit=3, **after)
            found += [(letter["subscriber"], letter["offset"]) for letter in page["dead_letters"]]
            after = {"after": page["next"]} if page["next"] else None
        assert found == [(name, offset) for name in ("a", "b") for offset in range(5)]
        page = await dead_letters(session, broker, subscriber="b", limit=5)
        assert [letter["offset"] for letter in page["dead_letters"]] == list(range(5)) and page["next"] is None
        assert (await dead_letters(session, broker, subscriber="nobody"))["dead_letters"] == []


async def test_rejects_are_listed_and_only_a_connector_can_try_again(broker):
    async with http() as session:
        async with websockets.connect(f"{broker.ws}?subscriber=ui&channels=policy.*") as ws:
            await ws.recv()
            await publish(session, broker, "a")
            while json.loads(await ws.recv())["op"] != "event":
                pass
            await ws.send(json.dumps({"op": "reject", "offset": 0, "reason": "unreadable"}))
            letter, = await given_up(session, broker, 1, subscriber="ui")
            assert (letter["reason"], letter["attempts"]) == ("unreadable", 1)
            await refused(session, "POST", f"{broker.url}/v1/dead-letters/retry", 409, "name-of-other-kind",
                          json={"subscriber": "ui", "offsets": [0]})


async def test_what_is_no_dead_letter_is_refused_and_nothing_is_tried_again(broker):
    async with http() as session, endpoint(lambda event: 500 if event["offset"] == 0 else 200) as receiver:
        await connect(session, broker, receiver, retry=GIVE_UP)
        await publish(session, broker, "a", "b")
        await given_up(session, broker, 1)
        await eventually(lambda: receiver.accepted == [1], what="the event behind it is taken")
        before = len(receiver.requests)
        path = f"{broker.url}/v1/dead-letters/retry"
        for offsets in ([0, 1], [7]):
            problem = await refused(session, "POST", path, 404, "dead-letter-not-found",
                                    json={"subscriber": "ems", "offsets": offsets})
            assert str(offsets[-1]) in problem["detail"]
        await refused(session, "POST", path, 404, "connector-not-found", json={"subscriber": "nobody", "offsets": [0]})
        await refused(session, "POST", path, 400, "offsets-invalid", json={"subscriber": "ems", "offsets": []})
        await refused(session, "POST", path, 400, "json-invalid", json={"subscriber": "ems", "offsets": ["0"]})
        assert len(receiver.requests) == before


async def test_a_seek_takes_an_event_out_of_the_list_and_so_does_a_restart_not(broker):
    async with endpoint(lambda event: 500) as receiver, http() as session:
        await connect(session, broker, receiver, retry=GIVE_UP)
        await publish(session, broker, "a", "b")
        await given_up(session, broker, 2)
        broker.kill()
        broker.start()
        await given_up(session, broker, 2)
        receiver.answer = lambda event: 200
        await act(session, broker, "seek", to=1)

        async def taken():
            return receiver.accepted == [1]
        await eventually(taken, what="the event was delivered after the seek")
        letter, = await given_up(session, broker, 1)
        assert letter["offset"] == 0


async def test_a_paused_connector_tries_nothing_again_until_it_goes_on(broker):
    async with http() as session, endpoint(lambda event: 500) as receiver:
        await connect(session, broker, receiver, retry=GIVE_UP)
        await publish(session, broker, "a")
        await given_up(session, broker, 1)
        receiver.answer = lambda event: 200
        await act(session, broker, "pause", expect=204)
        await retry(session, broker, 0)
        # Another connector's errand goes through meanwhile, so this one had its time.
        async with endpoint() as other:
            await connect(session, broker, other, name="other")
            assert (await act(session, broker, "replay", name="other", **{"from": 0}, expect=202))["events"] == 1
            await eventually(lambda: other.accepted == [0], what="the other one's replay")
        assert not receiver.accepted
        await act(session, broker, "resume", expect=204)
        await given_up(session, broker, 0)
        assert (await attempts(session, broker))[0]["status"] == 200
