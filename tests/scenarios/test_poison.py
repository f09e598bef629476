"""An event that its endpoint never takes: it is tried again for itself, and nobody is failed or held up for it.

Invariants 18, 19, 22 and 27; RELIABILITY.md, delivery rules."""

import collections

from endpoint import endpoint
from harness import call, eventually, http

RETRY = {"initial": "20ms", "max": "200ms"}
GOOD, AT = 60, 20


def events():
    """Good ones of many keys, with the poison among them, which has a key for itself."""
    made = [{"channel": "water.drunk", "key": f"key-{n % 12}", "data": n} for n in range(GOOD)]
    made.insert(AT, {"channel": "water.drunk", "key": "bad", "data": "poison"})
    return made


def refuses_poison(event):
    return 500 if event["data"] == "poison" else 200


async def connect(session, broker, receiver, in_flight, **retry):
    await call(session, "PUT", f"{broker.url}/v1/connectors/receiver", expect=201,
               json={"url": receiver.url, "channels": ["water.*"], "from": "earliest", "in_flight": in_flight,
                     "retry": {**RETRY, **retry}})


async def shown(session, broker):
    _, connector = await call(session, "GET", f"{broker.url}/v1/connectors/receiver", expect=200)
    return connector


async def test_neighbours_of_a_poison_event_are_delivered_once_and_it_alone_is_tried_again(broker):
    async with http() as session, endpoint(refuses_poison) as receiver:
        await connect(session, broker, receiver, in_flight=8)
        await call(session, "POST", f"{broker.url}/v1/events", expect=201, json=events())
        await eventually(lambda: len(receiver.accepted) == GOOD, what="every good event is delivered")
        await eventually(lambda: receiver.attempts.count(AT) >= 5, what="the poison is tried again")
        attempts = collections.Counter(receiver.attempts)
        del attempts[AT]
        assert set(attempts.values()) == {1}, f"a neighbour was sent more than once: {attempts}"
        for key in range(12):
            of_key = [offset for offset in receiver.accepted if (offset - (offset > AT)) % 12 == key]
            assert of_key == sorted(of_key), f"key {key} is not in order: {of_key}"

        async def all_but_one():
            connector = await shown(session, broker)
            assert connector["cursor"] == AT, connector
            return connector["lag"] == 1

        # The endpoint has an event before the broker has its answer.
        await eventually(all_but_one, what="every answer has come back")


async def test_in_order_its_neighbours_wait_until_a_poison_event_is_given_up_and_none_is_failed_for_it(broker):
    async with http() as session, endpoint(refuses_poison) as receiver:
        await connect(session, broker, receiver, in_flight=1, give_up_after=4)
        await call(session, "POST", f"{broker.url}/v1/events", expect=201, json=events())
        await eventually(lambda: len(receiver.accepted) == GOOD, what="every good event is delivered")
        everything = list(range(GOOD + 1))
        assert receiver.attempts == everything[:AT] + 4 * [AT] + everything[AT + 1:]

        async def through():
            return (await shown(session, broker))["lag"] == 0

        await eventually(through, what="everything is settled")
        receipts = {}
        for offset in everything:
            _, answer = await call(session, "GET", f"{broker.url}/v1/events/{offset}/receipts", expect=200)
            receipts[offset] = answer["receipts"][0]["state"]
        assert receipts == {offset: "dead" if offset == AT else "acked" for offset in everything}


async def test_a_poison_event_that_has_opened_the_circuit_does_not_hold_up_other_keys_for_ever(broker):
    async with http() as session, endpoint(refuses_poison) as receiver:
        await connect(session, broker, receiver, in_flight=8)
        poison, *good = [events()[AT], *events()[:AT]]
        await call(session, "POST", f"{broker.url}/v1/events", expect=201, json=[poison])

        async def failing():
            return (await shown(session, broker))["state"] == "failing"

        await eventually(failing, what="five failures in a row")
        await call(session, "POST", f"{broker.url}/v1/events", expect=201, json=good)
        await eventually(lambda: len(receiver.accepted) == len(good), within=10,
                         what="the endpoint takes all others, so it gets them")
