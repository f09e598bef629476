"""Receipts as NDJSON: all that fit the question, for lines have no place to say where to go on. PROTOCOL.md section 8."""

import json

import pytest

from harness import call, http

pytestmark = pytest.mark.asyncio
COUNT = 120


async def test_receipts_as_lines_are_all_of_them_and_with_a_limit_so_many(broker):
    async with http() as session:
        name = f"{broker.url}/v1/subscribers/worker"
        await call(session, "PUT", name, json={"channels": ["**"], "from": "earliest"}, expect=201)
        events = [{"channel": "job.made", "data": n} for n in range(COUNT)]
        await call(session, "POST", f"{broker.url}/v1/events", json=events, expect=201)
        await call(session, "POST", f"{name}/pull", json={"max": COUNT}, expect=200)
        for offset in range(COUNT):
            # Each ack is durable when it is answered, and so a receipt of its own.
            await call(session, "POST", f"{name}/ack", json={"offset": offset}, expect=200)

        async def lines(accept, query=""):
            async with session.get(f"{broker.url}/v1/receipts{query}", headers={"accept": accept}) as answer:
                assert answer.content_type == "application/x-ndjson", await answer.text()
                return [json.loads(line) for line in (await answer.text()).splitlines()]

        for accept in ("application/x-ndjson", "APPLICATION/X-NDJSON;q=1, application/json;q=0.5"):
            assert [receipt["from"] for receipt in await lines(accept)] == list(range(COUNT))
        assert len(await lines("application/x-ndjson", "?limit=7")) == 7
