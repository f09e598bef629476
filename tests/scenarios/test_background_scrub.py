"""A running broker reads its sealed segments again, and finds rot before any reader does (R12)."""

import re

from harness import call, eventually, http


async def test_a_bit_that_turns_in_a_sealed_segment_is_found_without_any_reader(brokers):
    broker = brokers(environment={"STENTOR_SEGMENTS_EVENTS": "4KiB", "STENTOR_SEGMENTS_LEDGER": "4KiB"}).start()
    async with http() as session:
        for _ in range(20):
            await call(session, "POST", f"{broker.url}/v1/events/job.made", json="x" * 700, expect=201)

        async def found():
            async with session.get(f"{broker.url}/metrics") as answer:
                return int(re.search(r"^stentor_rot_found_total (\d+)", await answer.text(), re.MULTILINE)[1])

        assert await found() == 0
        sealed = sorted((broker.data / "events").glob("*.seg"))[1]
        with open(sealed, "r+b") as file:
            file.seek(1_500)
            byte = file.read(1)[0]
            file.seek(1_500)
            file.write(bytes([byte ^ 4]))
        await eventually(found, within=30, what="the scrub comes by")
        log = broker.data.parent / "data.log"
        assert sealed.name in log.read_text() and "stentor repair" in log.read_text()
        # Said once, however often it comes by; everything else goes on.
        await call(session, "POST", f"{broker.url}/v1/events/job.made", json=1, expect=201)
        assert await found() == 1
