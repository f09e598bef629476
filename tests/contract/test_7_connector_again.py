"""PROTOCOL.md section 7: a range that is sent again, and what was given up."""

import json

import pytest
import websockets
from standardwebhooks import Webhook

from connecting import act, connect, publish, receipts, shown, standing
from endpoint import endpoint
from harness import call, eventually, refused

FAST = {"initial": "5ms", "max": "20ms"}


async def made(session, broker, receiver, own, **settings):
    return await connect(session, broker, receiver, name=own, channels=[f"{own}.*"], **{"retry": FAST, **settings})


async def delivered(session, broker, receiver, own, count=4, **settings):
    """A connector whose endpoint has taken so many events; gives their offsets."""
    connector = await made(session, broker, receiver, own, **settings)
    offsets = await publish(session, broker, *range(count), channel=f"{own}.e")

    async def all_taken():
        return (await shown(session, broker, own))["lag"] == 0
    await eventually(all_taken, what="everything was delivered")
    return connector, offsets


async def replay(session, broker, own, **body):
    return await act(session, broker, "replay", name=own, expect=202, **body)


# replay


async def test_replay_answers_202_with_its_id_and_how_many_events_it_is(shared, session, own):
    async with endpoint() as receiver:
        _, offsets = await delivered(session, shared, receiver, own)
        await publish(session, shared, "not asked for", channel=f"{own}x.e")
        answer = await replay(session, shared, own, **{"from": offsets[1]})
        assert set(answer) == {"replay", "events"} and answer["events"] == 3
        assert isinstance(answer["replay"], str) and answer["replay"]


async def test_it_sends_the_range_again_to_the_connector_up_to_to_exclusive(shared, session, own):
    async with endpoint() as receiver:
        _, offsets = await delivered(session, shared, receiver, own)
        await replay(session, shared, own, **{"from": offsets[1], "to": offsets[3]})
        await replay(session, shared, own, **{"from": offsets[3]})
        await eventually(lambda: sorted(receiver.accepted[4:]) == offsets[1:], what="each of the range once")


@pytest.mark.parametrize("place", ["offset", "time", "earliest"])
async def test_from_may_be_any_place(shared, session, own, place):
    async with endpoint() as receiver:
        _, offsets = await delivered(session, shared, receiver, own)
        _, third = await call(session, "GET", f"{shared.url}/v1/events/{offsets[2]}", expect=200)
        where, count = {"offset": (offsets[1], 3), "time": (third["time"], 2), "earliest": ("earliest", 4)}[place]
        assert (await replay(session, shared, own, **{"from": where}))["events"] == count


async def test_from_is_due(shared, session, own):
    async with endpoint() as receiver:
        await made(session, shared, receiver, own)
        problem = await refused(session, "POST", f"{shared.url}/v1/connectors/{own}/replay", 400, "json-invalid", json={})
        assert "from" in problem["detail"]


async def test_or_to_another_url(shared, session, own):
    async with endpoint() as receiver, endpoint() as elsewhere:
        _, offsets = await delivered(session, shared, receiver, own)
        await replay(session, shared, own, **{"from": offsets[0], "url": elsewhere.url})
        await eventually(lambda: elsewhere.accepted == offsets, what="it goes there")
        assert len(receiver.requests) == 4


async def test_the_live_cursor_does_not_move(shared, session, own):
    async with endpoint() as receiver:
        _, offsets = await delivered(session, shared, receiver, own)
        await act(session, shared, "pause", name=own, expect=204)
        missed, = await publish(session, shared, "missed", channel=f"{own}.e")
        async with endpoint() as elsewhere:
            await replay(session, shared, own, **{"from": offsets[0], "url": elsewhere.url})
            await eventually(lambda: elsewhere.accepted == [*offsets, missed], what="it goes there")
        connector = await shown(session, shared, own)
        assert (connector["cursor"], connector["lag"]) == (missed, 1)


async def test_it_keeps_to_its_rate(shared, session, own):
    async with endpoint() as receiver:
        _, offsets = await delivered(session, shared, receiver, own, 5)
        await replay(session, shared, own, **{"from": offsets[0], "rate": "20/s"})
        await eventually(lambda: len(receiver.requests) == 10, what="the replay is over")
        came = [got.came for got in receiver.requests[5:]]
        # Half of it, because the first may come late.
        assert came[-1] - came[0] >= 4 * 0.05 / 2


async def test_its_requests_carry_stentor_replay_true_and_are_signed(shared, session, own):
    async with endpoint() as receiver:
        connector, offsets = await delivered(session, shared, receiver, own, 1)
        await replay(session, shared, own, **{"from": offsets[0]})
        await eventually(lambda: len(receiver.requests) == 2, what="the replay is over")
        assert [got.headers.get("stentor-replay") for got in receiver.requests] == [None, "true"]
        assert Webhook(connector["secret"]).verify(receiver.requests[1].body, receiver.requests[1].headers)["offset"] == offsets[0]


async def test_its_receipts_say_so(shared, session, own):
    async with endpoint() as receiver:
        _, offsets = await delivered(session, shared, receiver, own, 1)
        answer = await replay(session, shared, own, **{"from": offsets[0]})

        async def both():
            found = await receipts(session, shared, subscriber=own)
            return len(found) == 2 and found
        delivery, again = await eventually(both, what="its receipt")
        assert "replay" not in delivery
        assert (again["replay"], again["outcome"], again["from"], again["status"]) == (answer["replay"], "acked", offsets[0], 200)


# Dead letters


async def given_up(session, broker, receiver, own, count=1):
    """Events that the endpoint refused twice; gives their offsets and their dead letters."""
    receiver.answer = lambda event: 500
    await made(session, broker, receiver, own, retry={**FAST, "give_up_after": 2})
    offsets = await publish(session, broker, *range(count), channel=f"{own}.e")
    return offsets, await letters(session, broker, count, subscriber=own)


async def letters(session, broker, count, **query):
    async def so_many():
        _, page = await call(session, "GET", f"{broker.url}/v1/dead-letters", params=query, expect=200)
        return len(page["dead_letters"]) == count and (page["dead_letters"],)
    return (await eventually(so_many, what=f"{count} dead letters"))[0]


async def retry(session, broker, subscriber, offsets, expect=202):
    body = {"subscriber": subscriber, "offsets": offsets}
    return (await call(session, "POST", f"{broker.url}/v1/dead-letters/retry", json=body, expect=expect))[1]


async def rejected(session, broker, name, channel):
    """A listener that rejects the first event that it gets."""
    async with websockets.connect(f"{broker.ws}?subscriber={name}&channels={channel}") as socket:
        await socket.recv()
        offset, = await publish(session, broker, "a", channel=channel)
        while json.loads(await socket.recv())["op"] != "event":
            pass
        await socket.send(json.dumps({"op": "reject", "offset": offset, "reason": "unreadable"}))
        return offset, (await letters(session, broker, 1, subscriber=name))[0]


async def test_a_dead_letter_says_who_what_where_how_often_why_and_when(shared, session, own):
    async with endpoint() as receiver:
        (offset,), (letter,) = await given_up(session, shared, receiver, own)
        receipt, = await receipts(session, shared, subscriber=own)
        assert letter == {"subscriber": own, "offset": offset, "channel": f"{own}.e", "attempts": 2,
                          "reason": "answered 500", "time": receipt["time"]}


async def test_rejects_are_included(shared, session, own):
    offset, letter = await rejected(session, shared, f"{own}-ui", f"{own}.r")
    assert (letter["offset"], letter["channel"], letter["reason"], letter["attempts"]) == (offset, f"{own}.r", "unreadable", 1)


async def test_they_are_those_of_the_subscriber_that_is_asked_for_or_of_all(shared, session, own):
    async with endpoint() as receiver:
        await given_up(session, shared, receiver, own)
        await rejected(session, shared, f"{own}-ui", f"{own}.r")

        async def names(**query):
            _, page = await call(session, "GET", f"{shared.url}/v1/dead-letters", params={"limit": 10_000, **query}, expect=200)
            return {letter["subscriber"] for letter in page["dead_letters"]}
        assert await names(subscriber=own) == {own}
        assert await names() >= {own, f"{own}-ui"}


async def test_they_come_in_pages(shared, session, own):
    async with endpoint() as receiver:
        offsets, _ = await given_up(session, shared, receiver, own, 3)
        path = f"{shared.url}/v1/dead-letters"
        _, first = await call(session, "GET", path, params={"subscriber": own, "limit": 2}, expect=200)
        _, last = await call(session, "GET", path, params={"subscriber": own, "limit": 2, "after": first["next"]}, expect=200)
        assert [letter["offset"] for page in (first, last) for letter in page["dead_letters"]] == offsets and last["next"] is None


async def test_retry_answers_202_with_how_many_are_queued_and_sends_them_again(shared, session, own):
    async with endpoint() as receiver:
        offsets, _ = await given_up(session, shared, receiver, own, 2)
        receiver.answer = lambda event: 200
        assert await retry(session, shared, own, offsets) == {"queued": 2}
        await letters(session, shared, 0, subscriber=own)
        assert sorted(receiver.accepted) == offsets
        assert (await standing(session, shared, offsets[0], own))["state"] == "acked"


async def test_it_goes_out_of_order_while_the_cursor_is_beyond(shared, session, own):
    async with endpoint() as receiver:
        (dead,), _ = await given_up(session, shared, receiver, own)
        receiver.answer = lambda event: 200
        later, = await publish(session, shared, "later", channel=f"{own}.e")
        await eventually(lambda: receiver.accepted == [later], what="the later one is taken")
        await retry(session, shared, own, [dead])
        await eventually(lambda: receiver.accepted == [later, dead], what="then the earlier one")
        assert (await shown(session, shared, own))["cursor"] > later


async def test_retry_is_for_connectors_only(shared, session, own):
    offset, letter = await rejected(session, shared, f"{own}-ui", f"{own}.r")
    await refused(session, "POST", f"{shared.url}/v1/dead-letters/retry", 409, "name-of-other-kind",
                  json={"subscriber": letter["subscriber"], "offsets": [offset]})


async def test_what_is_no_dead_letter_is_404(shared, session, own):
    async with endpoint() as receiver:
        _, offsets = await delivered(session, shared, receiver, own, 1)
        await refused(session, "POST", f"{shared.url}/v1/dead-letters/retry", 404, "dead-letter-not-found",
                      json={"subscriber": own, "offsets": offsets})
