"""PROTOCOL.md section 8: how deliveries ended, by the question and by the event."""

import datetime
import json
import re
import shutil

import pytest
import websockets

from connecting import act, connect, publish, receipts
from endpoint import endpoint
from harness import call, eventually, refused

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
NDJSON = {"accept": "application/x-ndjson"}


async def subscriber(session, broker, name, channels, start="latest", expect=201):
    await call(session, "PUT", f"{broker.url}/v1/subscribers/{name}", json={"channels": channels, "from": start}, expect=expect)


async def pull(session, broker, name):
    return await call(session, "POST", f"{broker.url}/v1/subscribers/{name}/pull", json={"max": 1_000}, expect=200)


async def ack(session, broker, name, offset):
    await call(session, "POST", f"{broker.url}/v1/subscribers/{name}/ack", json={"offset": offset}, expect=200)


async def acked(session, broker, own, count=3, channel="e"):
    """A listener that acknowledged so many events one by one; gives their offsets."""
    await subscriber(session, broker, own, [f"{own}.**"])
    offsets = await publish(session, broker, *range(count), channel=f"{own}.{channel}")
    await pull(session, broker, own)
    for offset in offsets:
        await ack(session, broker, own, offset)
    return offsets


async def of(session, broker, count, **query):
    """The receipts that answer a question, once there are so many."""
    async def so_many():
        found = await receipts(session, broker, **query)
        return len(found) == count and (found,)
    return (await eventually(so_many, what=f"{count} receipts"))[0]


async def froms(session, broker, **query):
    return [receipt["from"] for receipt in await receipts(session, broker, **query)]


# GET /v1/receipts, what is asked


async def test_subscriber_selects_those_of_one_subscriber(shared, session, own):
    offsets = await acked(session, shared, own)
    await acked(session, shared, f"{own}-other")
    found = await receipts(session, shared, subscriber=own)
    assert [(receipt["subscriber"], receipt["from"]) for receipt in found] == [(own, offset) for offset in offsets]


async def test_offset_selects_those_that_have_it(shared, session, own):
    offsets = await acked(session, shared, own)
    assert await froms(session, shared, offset=offsets[1]) == [offsets[1]]


async def test_offset_selects_a_receipt_of_many_by_any_of_them(shared, session, own):
    await subscriber(session, shared, own, [f"{own}.e"])
    offsets = await publish(session, shared, 1, 2, 3, channel=f"{own}.e")
    await pull(session, shared, own)
    await ack(session, shared, own, offsets[-1])
    for offset in offsets:
        receipt, = await receipts(session, shared, offset=offset)
        assert (receipt["from"], receipt["to"]) == (offsets[0], offsets[-1] + 1)


async def test_channel_selects_those_of_events_on_it(shared, session, own):
    await subscriber(session, shared, own, [f"{own}.**"])
    one, = await publish(session, shared, 1, channel=f"{own}.one")
    two, = await publish(session, shared, 2, channel=f"{own}.two")
    await pull(session, shared, own)
    for offset in (one, two):
        await ack(session, shared, own, offset)
    assert await froms(session, shared, channel=f"{own}.one") == [one]
    assert await froms(session, shared, channel=f"{own}.two") == [two]
    assert await froms(session, shared, channel=f"{own}.three") == []


async def test_from_selects_by_offset(shared, session, own):
    offsets = await acked(session, shared, own)
    assert await froms(session, shared, subscriber=own, **{"from": offsets[1]}) == offsets[1:]


async def test_to_selects_by_offset_and_is_exclusive(shared, session, own):
    offsets = await acked(session, shared, own)
    assert await froms(session, shared, subscriber=own, to=offsets[1]) == offsets[:1]


async def test_from_and_to_select_by_time(shared, session, own):
    await acked(session, shared, own)
    first, second, third = await receipts(session, shared, subscriber=own)
    assert first["time"] < second["time"] < third["time"]
    assert await froms(session, shared, subscriber=own, **{"from": second["time"]}) == [second["from"], third["from"]]
    assert await froms(session, shared, subscriber=own, to=second["time"]) == [first["from"]]


async def test_questions_hold_together(shared, session, own):
    offsets = await acked(session, shared, own)
    await subscriber(session, shared, f"{own}-other", [f"{own}.**"], start=offsets[0])
    await pull(session, shared, f"{own}-other")
    await ack(session, shared, f"{own}-other", offsets[-1])
    found = await receipts(session, shared, subscriber=own, channel=f"{own}.*", offset=offsets[2])
    assert [(receipt["subscriber"], receipt["from"]) for receipt in found] == [(own, offsets[2])]


async def test_an_unknown_question_is_refused_and_named(shared, session, own):
    problem = await refused(session, "GET", f"{shared.url}/v1/receipts?colour=red", 400, "parameter-unknown")
    assert "colour" in problem["detail"]


async def test_nothing_found_is_an_empty_list_without_next(shared, session, own):
    _, page = await call(session, "GET", f"{shared.url}/v1/receipts?subscriber={own}", expect=200)
    assert page == {"receipts": [], "next": None}


async def test_receipts_come_in_pages_each_once(shared, session, own):
    offsets = await acked(session, shared, own, 5)
    found, after = [], {}
    while after is not None:
        query = {"subscriber": own, "limit": 2, **after}
        _, page = await call(session, "GET", f"{shared.url}/v1/receipts", params=query, expect=200)
        assert len(page["receipts"]) <= 2
        found += [receipt["from"] for receipt in page["receipts"]]
        after = {"after": page["next"]} if page["next"] else None
    assert found == offsets


async def test_a_page_has_100_where_no_limit_is_given(shared, session, own):
    offsets = await acked(session, shared, own, 101)
    _, page = await call(session, "GET", f"{shared.url}/v1/receipts?subscriber={own}", expect=200)
    assert [receipt["from"] for receipt in page["receipts"]] == offsets[:100] and page["next"]


async def test_with_accept_ndjson_it_is_a_line_a_receipt(shared, session, own):
    await acked(session, shared, own)
    async with session.get(f"{shared.url}/v1/receipts?subscriber={own}", headers=NDJSON) as answer:
        assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
        lines = (await answer.text()).splitlines()
    assert [json.loads(line) for line in lines] == await receipts(session, shared, subscriber=own)


# What a receipt says


async def test_an_ack_of_a_listener_is_a_receipt_acked(shared, session, own):
    offsets = await acked(session, shared, own, 1)
    receipt, = await receipts(session, shared, subscriber=own)
    assert TIME.fullmatch(receipt.pop("time"))
    assert receipt == {"subscriber": own, "from": offsets[0], "to": offsets[0] + 1, "outcome": "acked", "attempts": 1}


async def test_its_time_is_that_of_the_ack(shared, session, own):
    before = datetime.datetime.now(datetime.timezone.utc)
    await acked(session, shared, own, 1)
    receipt, = await receipts(session, shared, subscriber=own)
    assert before <= datetime.datetime.fromisoformat(receipt["time"]) <= datetime.datetime.now(datetime.timezone.utc)


async def test_attempts_is_how_often_it_was_sent(shared, session, own):
    async with websockets.connect(f"{shared.ws}?subscriber={own}&channels={own}.e") as socket:
        await socket.recv()
        offset, = await publish(session, shared, 1, channel=f"{own}.e")
        for last in (False, True):
            while json.loads(await socket.recv())["op"] != "event":
                pass
            await socket.send(json.dumps({"op": "ack" if last else "nack", "offset": offset}))
        receipt, = await of(session, shared, 1, subscriber=own)
        assert (receipt["attempts"], receipt["outcome"]) == (2, "acked")


async def test_an_endpoints_2xx_is_a_receipt_acked_with_status_and_latency(shared, session, own):
    async with endpoint(lambda event: 202) as receiver:
        await connect(session, shared, receiver, name=own, channels=[f"{own}.*"])
        offset, = await publish(session, shared, 1, channel=f"{own}.e")
        receipt, = await of(session, shared, 1, subscriber=own)
        assert TIME.fullmatch(receipt.pop("time")) and 0 <= receipt.pop("latency_ms") < 10_000
        assert receipt == {"subscriber": own, "from": offset, "to": offset + 1, "outcome": "acked", "attempts": 1, "status": 202}


async def test_what_a_connector_gave_up_is_a_receipt_dead_with_status_and_reason(shared, session, own):
    async with endpoint(lambda event: 422) as receiver:
        await connect(session, shared, receiver, name=own, channels=[f"{own}.*"], retry={"initial": "5ms", "max": "5ms", "give_up_after": 3})
        offset, = await publish(session, shared, 1, channel=f"{own}.e")
        receipt, = await of(session, shared, 1, subscriber=own)
        assert (receipt["from"], receipt["to"], receipt["outcome"]) == (offset, offset + 1, "dead")
        assert (receipt["attempts"], receipt["status"], receipt["reason"]) == (3, 422, "answered 422")


async def rejects(session, broker, own, **reason):
    async with websockets.connect(f"{broker.ws}?subscriber={own}&channels={own}.e") as socket:
        await socket.recv()
        offset, = await publish(session, broker, 1, channel=f"{own}.e")
        while json.loads(await socket.recv())["op"] != "event":
            pass
        await socket.send(json.dumps({"op": "reject", "offset": offset, **reason}))
        return offset, (await of(session, broker, 1, subscriber=own))[0]


async def test_a_reject_is_a_receipt_dead_with_the_listeners_reason(shared, session, own):
    offset, receipt = await rejects(session, shared, own, reason="unreadable")
    assert (receipt["from"], receipt["outcome"], receipt["reason"], receipt["attempts"]) == (offset, "dead", "unreadable", 1)


async def test_a_receipt_without_an_endpoint_has_no_status_and_no_latency(shared, session, own):
    _, receipt = await rejects(session, shared, own)
    assert not {"status", "latency_ms", "replay"} & set(receipt)


async def skips(session, broker, own):
    """An open event that its subscriber does not ask for any more."""
    await subscriber(session, broker, own, [f"{own}.*"])
    offset, = await publish(session, broker, 1, channel=f"{own}.e")
    await pull(session, broker, own)
    await subscriber(session, broker, own, [f"{own}.other"], expect=200)
    return offset


async def test_an_open_event_that_is_not_asked_for_any_more_has_a_receipt_skipped(shared, session, own):
    offset = await skips(session, shared, own)
    receipt, = await of(session, shared, 1, subscriber=own)
    assert (receipt["from"], receipt["to"], receipt["outcome"], receipt["attempts"]) == (offset, offset + 1, "skipped", 1)


async def test_a_receipt_of_a_replay_says_which(shared, session, own):
    async with endpoint() as receiver:
        await connect(session, shared, receiver, name=own, channels=[f"{own}.*"])
        offset, = await publish(session, shared, 1, channel=f"{own}.e")
        await of(session, shared, 1, subscriber=own)
        replay = await act(session, shared, "replay", name=own, expect=202, **{"from": offset})
        first, again = await of(session, shared, 2, subscriber=own)
        assert "replay" not in first and again["replay"] == replay["replay"]


async def test_receipts_last_over_a_restart(brokers, session):
    broker = brokers().start()
    await acked(session, broker, "ui")
    before = await receipts(session, broker, subscriber="ui")
    broker.kill()
    broker.start()
    assert len(before) == 3 and await of(session, broker, 3, subscriber="ui") == before


# GET /v1/events/{offset}/receipts


async def stands(session, broker, offset):
    """How each subscriber stands with an event, by name."""
    _, page = await call(session, "GET", f"{broker.url}/v1/events/{offset}/receipts", params={"limit": 1000}, expect=200)
    return {receipt["subscriber"]: receipt for receipt in page["receipts"]}


async def test_an_event_that_was_acknowledged_stands_as_acked_with_time_and_attempts(shared, session, own):
    offset, = await acked(session, shared, own, 1)
    receipt, = await receipts(session, shared, subscriber=own)
    assert await stands(session, shared, offset) == {
        own: {"subscriber": own, "state": "acked", "time": receipt["time"], "attempts": 1}}


async def test_an_event_that_was_not_delivered_stands_as_pending(shared, session, own):
    await subscriber(session, shared, own, [f"{own}.e"])
    offset, = await publish(session, shared, 1, channel=f"{own}.e")
    found = await stands(session, shared, offset)
    assert found[own]["state"] == "pending" and "time" not in found[own]


async def test_an_event_that_is_delivered_and_not_acknowledged_stands_as_pending(shared, session, own):
    await subscriber(session, shared, own, [f"{own}.e"])
    offset, = await publish(session, shared, 1, channel=f"{own}.e")
    await pull(session, shared, own)
    assert (await stands(session, shared, offset))[own]["state"] == "pending"


async def test_an_event_that_was_rejected_stands_as_dead(shared, session, own):
    offset, receipt = await rejects(session, shared, own)
    found = (await stands(session, shared, offset))[own]
    assert (found["state"], found["time"], found["attempts"]) == ("dead", receipt["time"], 1)


async def test_an_event_that_a_connector_gave_up_stands_as_dead(shared, session, own):
    async with endpoint(lambda event: 500) as receiver:
        await connect(session, shared, receiver, name=own, channels=[f"{own}.*"], retry={"initial": "5ms", "max": "5ms", "give_up_after": 2})
        offset, = await publish(session, shared, 1, channel=f"{own}.e")
        await of(session, shared, 1, subscriber=own)
        found = (await stands(session, shared, offset))[own]
        assert (found["state"], found["attempts"]) == ("dead", 2)


async def test_an_open_event_that_is_not_asked_for_any_more_stands_as_skipped(shared, session, own):
    offset = await skips(session, shared, own)
    assert (await stands(session, shared, offset))[own]["state"] == "skipped"


async def test_every_subscriber_whose_patterns_matched_is_there_and_no_other(shared, session, own):
    for name, pattern in (("one", f"{own}.e"), ("all", f"{own}.**"), ("not", f"{own}.other")):
        await subscriber(session, shared, f"{own}-{name}", [pattern])
    async with endpoint() as receiver:
        await connect(session, shared, receiver, name=own, channels=[f"{own}.*"])
        offset, = await publish(session, shared, 1, channel=f"{own}.e")
        assert set(await stands(session, shared, offset)) == {f"{own}-one", f"{own}-all", own}


async def test_a_subscriber_whose_first_cursor_was_beyond_it_is_not_there(shared, session, own):
    offset, = await publish(session, shared, 1, channel=f"{own}.e")
    await subscriber(session, shared, f"{own}-late", [f"{own}.e"])
    await subscriber(session, shared, f"{own}-from-there", [f"{own}.e"], start=offset)
    assert set(await stands(session, shared, offset)) == {f"{own}-from-there"}


async def test_who_seeks_back_is_there_for_what_it_sought(shared, session, own):
    """Its first cursor is the lowest that it ever had: what it asked for again, it may be asked about."""
    offset, = await publish(session, shared, 1, channel=f"{own}.e")
    await subscriber(session, shared, own, [f"{own}.e"])
    await call(session, "POST", f"{shared.url}/v1/subscribers/{own}/seek", json={"to": offset}, expect=200)
    assert (await stands(session, shared, offset))[own]["state"] == "pending"


async def test_a_subscriber_whose_patterns_matched_then_is_there_whatever_they_are_now(shared, session, own):
    offset, = await acked(session, shared, own, 1)
    await subscriber(session, shared, own, [f"{own}.other"], expect=200)
    assert (await stands(session, shared, offset))[own]["state"] == "acked"


async def test_new_patterns_hold_from_the_cursor_on_also_for_who_is_there(shared, session, own):
    await subscriber(session, shared, own, [f"{own}.other"])
    offset, = await publish(session, shared, 1, channel=f"{own}.e")
    await subscriber(session, shared, f"{own}-away", [f"{own}.e"], start=offset)
    await subscriber(session, shared, f"{own}-away", [f"{own}.other"], expect=200)
    assert await stands(session, shared, offset) == {}


async def test_a_subscriber_whose_patterns_match_only_now_is_not_there(shared, session, own):
    await subscriber(session, shared, own, [f"{own}.other"])
    offset, = await publish(session, shared, 1, channel=f"{own}.e")
    await publish(session, shared, 2, channel=f"{own}.other")
    await pull(session, shared, own)
    await ack(session, shared, own, offset + 1)
    await subscriber(session, shared, own, [f"{own}.*"], expect=200)
    assert await stands(session, shared, offset) == {}


async def test_who_was_deleted_is_there_as_it_stood(shared, session, own):
    """Every subscriber whose patterns matched at that offset: also who is none any more."""
    offset, later = await acked(session, shared, own, 2)
    left, = await publish(session, shared, 1, channel=f"{own}.e")
    other, = await publish(session, shared, 1, channel=own)
    await call(session, "DELETE", f"{shared.url}/v1/subscribers/{own}", expect=204)
    behind, = await publish(session, shared, 1, channel=f"{own}.e")
    stands_then = await stands(session, shared, offset)
    assert stands_then[own]["state"] == "acked" and stands_then[own]["attempts"] == 1 and stands_then[own]["time"]
    assert (await stands(session, shared, left))[own]["state"] == "skipped", "nobody will deliver it any more"
    assert own not in await stands(session, shared, other), "its patterns did not match"
    assert own not in await stands(session, shared, behind), "it was gone by then"
    _, page = await call(session, "GET", f"{shared.url}/v1/receipts?offset={offset}", expect=200)
    receipt, = page["receipts"]
    assert (receipt["subscriber"], receipt["outcome"], receipt["attempts"]) == (own, "acked", 1)


async def test_what_is_open_when_its_subscriber_is_deleted_has_a_receipt_skipped(shared, session, own):
    """Every delivery leaves a receipt."""
    await subscriber(session, shared, own, [f"{own}.e"])
    sent, = await publish(session, shared, 1, channel=f"{own}.e")
    await pull(session, shared, own)
    await call(session, "DELETE", f"{shared.url}/v1/subscribers/{own}", expect=204)
    receipt, = await of(session, shared, 1, subscriber=own)
    assert (receipt["outcome"], receipt["from"], receipt["attempts"]) == ("skipped", sent, 1)
    assert receipt["reason"] == "the subscriber was deleted"
    found = (await stands(session, shared, sent))[own]
    assert (found["state"], found["attempts"], found["time"]) == ("skipped", 1, receipt["time"])


async def test_patterns_of_before_a_seek_count_for_what_was_acknowledged_under_them(shared, session, own):
    """They did not: the seek laid the new patterns over them, and who asked by offset or channel was told of nobody."""
    await subscriber(session, shared, own, [f"{own}.a", f"{own}.b"])
    first, = await publish(session, shared, 1, channel=f"{own}.a")
    second, = await publish(session, shared, 1, channel=f"{own}.b")
    await pull(session, shared, own)
    await ack(session, shared, own, second)
    await subscriber(session, shared, own, [f"{own}.c"], expect=200)
    await call(session, "POST", f"{shared.url}/v1/subscribers/{own}/seek", json={"to": first}, expect=200)
    for gone in (False, True):
        if gone:
            await call(session, "DELETE", f"{shared.url}/v1/subscribers/{own}", expect=204)
        for query in ({"offset": first}, {"offset": second}, {"channel": f"{own}.a"}, {"channel": f"{own}.b"}):
            await of(session, shared, 1, subscriber=own, **query)
        assert (await stands(session, shared, second))[own]["state"] == "acked"


async def test_patterns_of_behind_a_seek_say_nothing_of_what_was_acknowledged_before_it(shared, session, own):
    """They did, where the change came behind the seek and not before it."""
    await subscriber(session, shared, own, [f"{own}.a", f"{own}.b"])
    first, second, third = await publish(session, shared, 1, 2, 3, channel=f"{own}.a")
    await pull(session, shared, own)
    await ack(session, shared, own, third)
    await call(session, "POST", f"{shared.url}/v1/subscribers/{own}/seek", json={"to": second}, expect=200)
    await subscriber(session, shared, own, [f"{own}.c"], expect=200)
    for gone in (False, True):
        if gone:
            await call(session, "DELETE", f"{shared.url}/v1/subscribers/{own}", expect=204)
        for offset in (first, second, third):
            await of(session, shared, 1, subscriber=own, offset=offset)
            assert (await stands(session, shared, offset))[own]["state"] == "acked"
        await of(session, shared, 1, subscriber=own, channel=f"{own}.a")


async def test_what_was_acknowledged_above_the_cursor_stays_so_when_the_patterns_change(shared, session, own):
    await subscriber(session, shared, own, [f"{own}.a"])
    offsets = await publish(session, shared, *range(5), channel=f"{own}.a")
    await pull(session, shared, own)
    await call(session, "POST", f"{shared.url}/v1/subscribers/{own}/ack", json={"offsets": offsets[2:4]}, expect=200)
    await subscriber(session, shared, own, [f"{own}.b"], expect=200)
    found = await of(session, shared, 4, subscriber=own, channel=f"{own}.a")
    states = {offset: "acked" if offset in offsets[2:4] else "skipped" for offset in offsets}
    assert {offset: receipt["outcome"] for receipt in found for offset in range(receipt["from"], receipt["to"])} == states
    for offset, state in states.items():
        assert (await stands(session, shared, offset))[own]["state"] == state
        assert len(await receipts(session, shared, subscriber=own, offset=offset)) == 1


async def test_a_connectors_open_events_are_skipped_with_the_requests_that_were_made(shared, session, own):
    """What it had taken in hand ahead was said to have been sent; what was sent often, to have been sent once."""
    async with endpoint(lambda event: 500) as receiver:
        await connect(session, shared, receiver, name=own, channels=[f"{own}.e"], in_flight=2,
                      retry={"initial": "20ms", "max": "20ms"})
        offsets = await publish(session, shared, *range(20), channel=f"{own}.e")
        await eventually(lambda: len(receiver.requests) >= 9, what="several attempts")
        await act(session, shared, "pause", name=own, expect=204)
        await call(session, "DELETE", f"{shared.url}/v1/connectors/{own}", expect=204)
    requests = [request.offset for request in receiver.requests]
    found = await receipts(session, shared, subscriber=own)
    assert {receipt["outcome"] for receipt in found} == {"skipped"} and len(found) < len(offsets)
    assert {receipt["from"]: receipt["attempts"] for receipt in found} == {n: requests.count(n) for n in requests}


async def test_of_a_name_that_was_made_again_the_one_who_is_there_stands(shared, session, own):
    offset, = await acked(session, shared, own, 1)
    for start, state in (("latest", "acked"), ("earliest", "pending")):
        await call(session, "DELETE", f"{shared.url}/v1/subscribers/{own}", expect=204)
        await subscriber(session, shared, own, [f"{own}.e"], start)
        assert (await stands(session, shared, offset))[own]["state"] == state, start


async def test_who_was_deleted_is_there_over_a_restart_and_when_the_view_is_made_again(brokers, session):
    broker = brokers().start()
    offset, = await acked(session, broker, "gone", 1, channel="e")
    await call(session, "DELETE", f"{broker.url}/v1/subscribers/gone", expect=204)
    for lost in (False, True):
        broker.stop()
        if lost:
            shutil.rmtree(broker.data / "views")
        broker.start()
        assert (await stands(session, broker, offset))["gone"]["state"] == "acked"


async def test_an_events_receipts_are_a_list_with_limit_after_and_next(shared, session, own):
    names = [f"{own}-{n}" for n in range(3)]
    for name in names:
        await subscriber(session, shared, name, [f"{own}.e"])
    offset, = await publish(session, shared, 1, channel=f"{own}.e")
    found, after = [], {}
    while after is not None:
        path = f"{shared.url}/v1/events/{offset}/receipts"
        _, page = await call(session, "GET", path, params={"limit": 2, **after}, expect=200)
        assert len(page["receipts"]) <= 2
        found += [receipt["subscriber"] for receipt in page["receipts"]]
        after = {"after": page["next"]} if page["next"] else None
    assert sorted(found) == names


async def test_receipts_of_an_event_beyond_the_end_are_404(shared, session, own):
    await refused(session, "GET", f"{shared.url}/v1/events/999999/receipts", 404, "event-not-found")
