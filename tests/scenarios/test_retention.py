"""Retention by age, over HTTP: what it took is 410, a range begins at the start and tells the gap."""

from harness import call, eventually, http


async def test_events_that_are_too_old_go_by_whole_segments_and_are_gone_not_missing(brokers):
    settings = {"STENTOR_SEGMENTS_EVENTS": "4KiB", "STENTOR_RETENTION_MAX_AGE": "1s"}
    broker = brokers(environment=settings).start()
    async with http() as session:
        for n in range(20):
            await call(session, "POST", f"{broker.url}/v1/events/old", json={"n": n, "pad": "x" * 600}, expect=201)

        async def gone():
            status, _ = await call(session, "GET", f"{broker.url}/v1/events/0")
            return status == 410

        await eventually(gone, what="the oldest event is gone")
        _, page = await call(session, "GET", f"{broker.url}/v1/events?from=0", expect=200)
        assert page["gap"]["from"] == 0 and page["events"][0]["offset"] >= page["gap"]["to"]
        assert page["events"][-1]["offset"] == 19, "the newest segment stays"
        _, problem = await call(session, "GET", f"{broker.url}/v1/events/0", expect=410)
        assert problem["type"] == "/problems/event-gone"


async def test_a_seek_below_the_start_begins_at_the_start_and_the_gap_is_told(brokers):
    settings = {"STENTOR_SEGMENTS_EVENTS": "4KiB", "STENTOR_RETENTION_MAX_AGE": "1s"}
    broker = brokers(environment=settings).start()
    async with http() as session:
        name = f"{broker.url}/v1/subscribers/late"
        await call(session, "PUT", name, json={"channels": ["**"]}, expect=201)
        for n in range(20):
            await call(session, "POST", f"{broker.url}/v1/events/old", json={"n": n, "pad": "x" * 600}, expect=201)

        async def gone():
            return (await call(session, "GET", f"{broker.url}/v1/events/0"))[0] == 410

        await eventually(gone, what="the oldest event is gone")
        _, sought = await call(session, "POST", f"{name}/seek", json={"to": 0}, expect=200)
        _, pulled = await call(session, "POST", f"{name}/pull", json={"max": 1}, expect=200)
        assert pulled["gap"]["from"] == 0 and pulled["gap"]["to"] >= sought["cursor"] > 0
        assert pulled["events"][0]["offset"] >= pulled["gap"]["to"]
