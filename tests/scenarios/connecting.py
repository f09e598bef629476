"""What the scenarios of connectors ask a broker for."""

from harness import call, eventually

RETRY = {"initial": "20ms", "max": "100ms"}


async def connect(session, broker, receiver, *, name="ems", expect=201, **settings):
    """Makes a connector to an endpoint; gives it as the broker shows it, with its secret."""
    asked = {"url": receiver.url, "channels": ["policy.*"], "retry": RETRY, **settings}
    return (await call(session, "PUT", f"{broker.url}/v1/connectors/{name}", json=asked, expect=expect))[1]


async def act(session, broker, what, *, name="ems", expect=200, **body):
    """One of the connector's verbs; gives the answer."""
    arguments = {"json": body} if body else {}
    return (await call(session, "POST", f"{broker.url}/v1/connectors/{name}/{what}", expect=expect, **arguments))[1]


async def shown(session, broker, name="ems"):
    return (await call(session, "GET", f"{broker.url}/v1/connectors/{name}", expect=200))[1]


async def in_state(session, broker, state, name="ems"):
    """Waits until the connector is in that state; gives it as it is then."""
    async def is_so():
        connector = await shown(session, broker, name)
        return connector["state"] == state and connector
    return await eventually(is_so, what=f"{name} is {state}")


async def publish(session, broker, *payloads, channel="policy.approved", **headers):
    """Publishes JSON payloads one after another; gives their offsets."""
    made = [await call(session, "POST", f"{broker.url}/v1/events/{channel}", json=payload, headers=headers, expect=201)
            for payload in payloads]
    return [answer["offset"] for _, answer in made]


async def attempts(session, broker, name="ems"):
    return (await call(session, "GET", f"{broker.url}/v1/connectors/{name}/attempts", expect=200))[1]["attempts"]


async def receipts(session, broker, **query):
    return (await call(session, "GET", f"{broker.url}/v1/receipts", params=query, expect=200))[1]["receipts"]


async def dead_letters(session, broker, **query):
    return (await call(session, "GET", f"{broker.url}/v1/dead-letters", params=query, expect=200))[1]


async def standing(session, broker, offset, name="ems"):
    """How a subscriber stands with one event."""
    _, answer = await call(session, "GET", f"{broker.url}/v1/events/{offset}/receipts", expect=200)
    return {receipt["subscriber"]: receipt for receipt in answer["receipts"]}.get(name)
