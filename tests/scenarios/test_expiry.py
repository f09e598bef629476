"""A subscriber that says when it may be forgotten is forgotten then, and never while it listens."""

import json

import websockets

from harness import call, eventually, http

SETTINGS = {"channels": ["key.*"], "ack_timeout": "1s", "expires": "1s"}


async def test_one_that_stays_away_longer_than_it_said_is_gone(broker):
    async with http() as session:
        await call(session, "PUT", f"{broker.url}/v1/subscribers/ui", json=SETTINGS, expect=201)

        async def gone():
            status, _ = await call(session, "GET", f"{broker.url}/v1/subscribers/ui")
            return status == 404

        await eventually(gone, within=15, what="the subscriber expires")
        # Its name is free: the new one begins anew.
        await call(session, "PUT", f"{broker.url}/v1/subscribers/ui", json=SETTINGS, expect=201)


async def test_one_that_listens_does_not_expire(broker):
    async with http() as session:
        await call(session, "PUT", f"{broker.url}/v1/subscribers/away", json=SETTINGS, expect=201)
        await call(session, "PUT", f"{broker.url}/v1/subscribers/ui", json=SETTINGS, expect=201)
        async with websockets.connect(broker.ws + "?subscriber=ui", subprotocols=["stentor.v1.json"]) as socket:
            assert json.loads(await socket.recv())["op"] == "subscribed"

            async def other_gone():
                status, _ = await call(session, "GET", f"{broker.url}/v1/subscribers/away")
                return status == 404

            await eventually(other_gone, within=15, what="the one that is away expires")
            await call(session, "GET", f"{broker.url}/v1/subscribers/ui", expect=200)
