"""PROTOCOL.md, section 2: publish. CloudEvents are in test_2_cloudevents.py."""

import asyncio
import base64
import contextlib
import json
import subprocess
import time

import pytest

from asking import FORGETFUL, JSON, NDJSON, OLD, asking, wear
from faults import Fault
from harness import call, stentor
from machine_clock import MachineClock
from talking import SOON

FIRST_SEGMENT = "00000000000000000000.seg"
DAY = 24 * 3_600


def lines(*entries):
    return "".join(json.dumps(entry) + "\n" for entry in entries).encode()


async def send(ask, channel, expect=201, data=b'{"n":1}', kind="application/json", **headers):
    """One event by `POST /v1/events/{channel}`, headers as they are."""
    headers = {name.replace("_", "-"): value for name, value in {"content_type": kind, **headers}.items()}
    return await ask("POST", f"/v1/events/{channel}", expect, data=data, headers=headers)


# One event


def test_the_body_is_the_payload_and_no_content_type_means_json(shared, word):
    command = ["curl", "-s", "-X", "POST", f"{shared.url}/v1/events/{word}", "-H", "Content-Type:", "--data-binary", '{"n": 1.0}']
    offset = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["offset"]
    read = subprocess.run(["curl", "-s", f"{shared.url}/v1/events/{offset}"], capture_output=True, check=True).stdout
    assert read.endswith(b'"data":{"n": 1.0}}')


@pytest.mark.parametrize("kind", [None, "application/json"])
async def test_json_must_parse(ask, word, kind):
    for body in (b"", b"{", b"nul", b"{} {}", b"'a'", b"\xff"):
        headers = {"content-type": kind} if kind else {}
        await ask.refused("POST", f"/v1/events/{word}", 400, "data-invalid", data=body, headers=headers,
                          skip_auto_headers=("Content-Type",))
    assert await ask.found(channels=word) == []


async def test_idempotency_key_is_the_events_id(ask, word):
    answer = await send(ask, word, idempotency_key="order-7")
    assert (answer["id"], (await ask.event(answer["offset"]))["id"]) == ("order-7", "order-7")


@pytest.mark.parametrize("written, id", [('"order-7"', "order-7"), ('"a\\"b"', 'a"b'), ('"a\\\\b"', "a\\b"), ('b"c', 'b"c')])
async def test_a_quoted_structured_string_is_unquoted(ask, word, written, id):
    assert (await send(ask, word, idempotency_key=written))["id"] == id


@pytest.mark.parametrize("written", ['"open', '"a"b', '"a";p=1', '"a\\b"', '""'])
async def test_what_begins_with_a_quote_and_is_no_whole_structured_string_is_refused(ask, word, written):
    await ask.refused("POST", f"/v1/events/{word}", 400, "id-invalid", data=b"1", headers={**JSON, "idempotency-key": written})


async def test_stentor_key_is_the_ordering_key(ask, word):
    assert (await ask.event((await send(ask, word, stentor_key="openai_primary"))["offset"]))["key"] == "openai_primary"


async def test_stentor_header_name_is_a_header(ask, word):
    answer = await send(ask, word, stentor_header_shop="One", stentor_header_order_id="7")
    assert (await ask.event(answer["offset"]))["headers"] == {"shop": "One", "order-id": "7"}


async def test_traceparent_and_tracestate_are_kept_among_the_headers(ask, word):
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "congo=t61rcWkgMzE"}
    assert (await ask.event((await send(ask, word, **trace))["offset"]))["headers"] == trace


async def test_several_lines_of_tracestate_are_one_list(ask, word):
    lines = [("content-type", "application/json"), ("tracestate", "a=1"), ("tracestate", "b=2")]
    answer = await ask("POST", f"/v1/events/{word}", 201, data=b"1", headers=lines)
    assert (await ask.event(answer["offset"]))["headers"] == {"tracestate": "a=1,b=2"}


async def test_201_tells_offset_id_channel_and_time(ask, word):
    answer = await send(ask, word, idempotency_key="x", stentor_key="k")
    event = await ask.event(answer["offset"])
    assert answer == {name: event[name] for name in ("offset", "id", "channel", "time")}
    assert (answer["channel"], answer["id"], answer["offset"]) == (word, "x", await ask.end() - 1)


async def test_200_is_the_same_with_duplicate_where_the_id_was_published_on_that_channel(ask, word):
    everything = {"idempotency_key": "x", "stentor_key": "k", "stentor_header_a": "b"}
    first = await send(ask, word, **everything)
    assert await send(ask, word, 200, **everything) == {**first, "duplicate": True}
    assert await ask.end() == first["offset"] + 1


async def test_the_same_id_on_another_channel_is_another_event(ask, word):
    first = await send(ask, word, idempotency_key="x")
    second = await send(ask, f"{word}.other", idempotency_key="x")
    assert second["offset"] == first["offset"] + 1 and "duplicate" not in second


@pytest.mark.parametrize("other", [
    {"data": b'{"n":2}'}, {"data": b'{"n": 1}'}, {"kind": "text/plain"}, {"stentor_key": "other"}, {"stentor_header_a": "other"},
    {"stentor_header_b": "more"}], ids=["payload", "bytes", "content type", "key", "header", "more headers"])
async def test_409_where_the_id_was_published_with_another_payload_content_type_key_or_headers(ask, word, other):
    first = await send(ask, word, idempotency_key="x", stentor_key="k", stentor_header_a="b")
    problem = await send(ask, word, 409, **{"idempotency_key": "x", "stentor_key": "k", "stentor_header_a": "b", **other})
    assert (problem["type"], problem["field"]) == ("/problems/id-conflict", "id")
    assert await ask.end() == first["offset"] + 1


async def test_trace_context_aside(ask, word):
    first = await send(ask, word, idempotency_key="x", traceparent="00-1", tracestate="a=1")
    again = await send(ask, word, 200, idempotency_key="x", traceparent="00-2")
    assert (again["offset"], again["duplicate"]) == (first["offset"], True)
    assert (await ask.event(first["offset"]))["headers"] == {"traceparent": "00-1", "tracestate": "a=1"}


# The window


async def test_the_window_is_24_h(brokers, tmp_path):
    clock = MachineClock(tmp_path)
    async with asking(brokers(environment=clock.environment).start()) as ask:
        await send(ask, "a", idempotency_key="x")
        clock.jump(DAY - 60)
        assert (await send(ask, "a", 200, idempotency_key="x"))["offset"] == 0
        clock.jump(DAY + 1)
        assert (await send(ask, "a", idempotency_key="x"))["offset"] == 1


async def test_the_window_is_1_000_000_events_with_a_publishers_id(broker):
    async def others(ask, ids):
        body = "".join(f'{{"channel":"a","data":1,"id":"{n}"}}\n' for n in ids).encode()
        await ask("POST", "/v1/events", 201, data=body, headers=NDJSON)

    async with asking(broker) as ask:
        await send(ask, "a", idempotency_key="x")
        ids = iter([range(at, min(at + 10_000, 999_999)) for at in range(0, 999_999, 10_000)])

        async def some():
            for batch in ids:
                await others(ask, batch)
        await asyncio.gather(some(), some())
        await ask.publish("a", "the broker makes this id")
        assert (await send(ask, "a", 200, idempotency_key="x"))["offset"] == 0, "the oldest of a million"
        await send(ask, "a", idempotency_key="one-more")
        assert (await send(ask, "a", idempotency_key="x"))["offset"] == 1_000_002


async def test_the_window_survives_restarts(broker):
    async with asking(broker) as ask:
        first = await send(ask, "a", idempotency_key="x")
    for end in (broker.stop, broker.kill):
        end()
        broker.start()
        async with asking(broker) as ask:
            assert await send(ask, "a", 200, idempotency_key="x") == {**first, "duplicate": True}
            await send(ask, "a", 409, data=b"2", idempotency_key="x")


async def test_the_window_outlives_the_event_where_retention_takes_it_before(brokers):
    broker = brokers(environment=FORGETFUL).start()
    await wear(broker)
    for restart in (None, broker.stop, broker.kill):
        if restart:
            restart()
            broker.start()
        async with asking(broker) as ask:
            await ask("GET", "/v1/events/0", 410)
            again = {**JSON, "idempotency-key": "old-0"}
            answer = await ask("POST", "/v1/events/old", 200, data=OLD, headers=again)
            assert (answer["offset"], answer["duplicate"]) == (0, True)
            conflict = await ask("POST", "/v1/events/old", 409, data=b"2", headers=again)
            assert conflict["type"] == "/problems/id-conflict"
            assert await ask.end() == 4
    broker.stop()
    assert stentor("verify", broker.data).returncode == 0
    kept = next((broker.data / "ids").iterdir())
    kept.write_bytes(kept.read_bytes()[:-1])
    found = stentor("verify", broker.data, check=False)
    assert found.returncode == 1 and kept.name in found.stdout, "a check names the damaged file"


@pytest.fixture
def slow_disk(brokers, tmp_path):
    """A broker that has published one event, and now takes most of a second to sync the next."""
    broker = brokers().start()
    asyncio.run(seed(broker))
    fault = Fault(tmp_path / "trace", "fdatasync", "delay_enter=700000", [broker.data / "events" / FIRST_SEGMENT])
    fault.attach(broker.process.pid)
    yield broker
    broker.close()
    fault.detach()


async def seed(broker):
    async with asking(broker) as ask:
        await ask.publish("a")


async def test_a_repeat_that_comes_while_the_first_is_written_waits_for_the_firsts_answer(slow_disk):
    async with asking(slow_disk) as ask:
        began = time.monotonic()
        answers = await asyncio.gather(*[
            call(ask.session, "POST", ask.url("/v1/events/a"), data=b"7", headers={**JSON, "idempotency-key": "x"}) for _ in range(8)])
        assert time.monotonic() - began >= 0.7, "nobody is answered before it is on disk"
        assert sorted(status for status, _ in answers) == [200] * 7 + [201]
        assert {answer["offset"] for _, answer in answers} == {1}
        assert await ask.end() == 2


async def test_the_answer_leaves_only_when_the_event_is_on_disk(slow_disk):
    async with asking(slow_disk) as ask:
        began = time.monotonic()
        answer = await send(ask, "a")
        assert time.monotonic() - began >= 0.7, "the sync was still under way"
        slow_disk.kill()
        slow_disk.start()
        assert (await ask.event(1))["id"] == answer["id"]


async def test_a_batch_too_is_answered_only_when_it_is_on_disk(slow_disk):
    async with asking(slow_disk) as ask:
        began = time.monotonic()
        await ask.many("a", "b")
        assert time.monotonic() - began >= 0.7


def test_there_is_no_mode_without_sync():
    shown = stentor("config", "show", "--output", "json").stdout
    assert "retention.max_age" in shown and "sync" not in shown and "durab" not in shown


async def test_after_a_broken_connection_the_same_id_published_again_is_one_event(slow_disk):
    async with asking(slow_disk) as ask:
        async def cut():
            reader, writer = await asyncio.open_connection("127.0.0.1", slow_disk.port)
            writer.write(b"POST /v1/events/a HTTP/1.1\r\nHost: x\r\nIdempotency-Key: x\r\nContent-Length: 1\r\n\r\n7")
            await writer.drain()
            writer.transport.abort()
        await cut()
        answers = [await call(ask.session, "POST", ask.url("/v1/events/a"), data=b"7", headers={**JSON, "idempotency-key": "x"})
                   for _ in range(2)]
        assert [answer["offset"] for _, answer in answers] == [1, 1] and answers[1][0] == 200
        assert await ask.end() == 2


# Many


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/json"])
async def test_many_are_published_as_lines_or_as_an_array(ask, word, kind):
    entries = [{"channel": f"{word}.{n}", "data": {"n": n}} for n in range(100)]
    first = await ask.end()
    body = lines(*entries) if kind == "application/x-ndjson" else json.dumps(entries).encode()
    answer = await ask("POST", "/v1/events", 201, data=body, headers={"content-type": kind})
    assert answer == {"first_offset": first, "last_offset": first + 99, "count": 100, "duplicates": 0}
    events = (await ask.get("/v1/events", **{"from": first}))["events"]
    assert [(event["channel"], event["data"]) for event in events] == [(entry["channel"], entry["data"]) for entry in entries]


@contextlib.asynccontextmanager
async def sending(broker, *headers):
    """A batch of lines whose body is still on its way: `write` a part of it, then read the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    head = ["POST /v1/events HTTP/1.1", "Host: x", "Content-Type: application/x-ndjson", "Transfer-Encoding: chunked", *headers]
    writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
    if headers:
        assert b" 100 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON)

    async def write(part):
        writer.write(b"%x\r\n%s\r\n" % (len(part), part))
        await writer.drain()

    async def answer():
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON)).decode().lower()
        length = int(head.split("content-length:")[1].split()[0])
        return int(head.split()[1]), json.loads(await reader.readexactly(length))

    async def cut():
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), SOON)

    yield write, answer, cut
    writer.close()


async def test_lines_may_come_in_any_pieces(shared, ask, word):
    entries = [{"channel": f"{word}.{n}", "data": {"n": n, "text": "żółć"}} for n in range(20)]
    body = "\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries).encode()
    first = await ask.end()
    for size in (1, 7, 64, len(body)):
        async with sending(shared) as (write, answer, _):
            for at in range(0, len(body), size):
                await write(body[at:at + size])
            await write(b"")
            status, said = await answer()
        assert (status, said["count"], said["last_offset"]) == (201, 20, said["first_offset"] + 19)
    events = (await ask.get("/v1/events", **{"from": first, "channels": f"{word}.*"}))["events"]
    assert [event["data"] for event in events] == [entry["data"] for entry in entries] * 4


async def test_a_bad_line_is_refused_while_the_rest_of_the_body_is_on_its_way(shared, ask, word):
    async with sending(shared) as (write, answer, _):
        await write(lines({"channel": word, "data": 1}, {"channel": word, "data": 2}) + b'{"channel":"a b","data":3}\n')
        status, problem = await answer()
        assert (status, problem["type"], problem["line"]) == (400, "/problems/channel-invalid", 3)
    assert await ask.found(channels=word) == []


@pytest.mark.parametrize("headers", [(), ("Expect: 100-continue",)])
async def test_who_writes_on_behind_a_bad_line_is_not_cut_off_and_reads_the_answer_at_the_end(shared, ask, word, headers):
    """It was: the rest was read for five seconds only, and not at all from who had asked for leave to send it."""
    async with sending(shared, *headers) as (write, answer, _):
        await write(b"bad\n")
        for _ in range(14):
            # A slow uplink; what counts is that it is read for longer than an answer to nobody's body lingers.
            await asyncio.sleep(0.5)
            await write(b"\n" * (256 << 10))
        await write(b"")
        status, problem = await answer()
        assert (status, problem["line"]) == (400, 1)


async def test_a_batch_whose_body_breaks_off_is_not_published(shared, ask, word):
    async with sending(shared) as (write, _, cut):
        await write(lines(*[{"channel": word, "data": n} for n in range(1_000)]))
        assert b" 201 " not in await cut(), "what came is not the whole of it"
    await ask.publish(word + ".after")
    assert await ask.found(channels=word) == []


async def test_an_entry_may_have_id_key_and_headers(ask, word):
    entry = {"channel": word, "data": 1, "id": "x", "key": "k", "headers": {"a": "b"}}
    for kind, body in ((NDJSON, lines(entry)), (JSON, json.dumps([{**entry, "id": "y"}]).encode())):
        answer = await ask("POST", "/v1/events", 201, data=body, headers=kind)
        event = await ask.event(answer["first_offset"])
        assert {name: event[name] for name in entry} == {**entry, "id": event["id"]} and event["id"] in "xy"


async def test_an_entry_may_have_content_type_and_data_base64_in_place_of_data(ask, word):
    body = bytes(range(256))
    entry = {"channel": word, "content_type": "image/png", "data_base64": base64.b64encode(body).decode()}
    event = await ask.event((await ask.many(entry))["first_offset"])
    assert (event["content_type"], event["data_base64"]) == (entry["content_type"], entry["data_base64"])
    await ask.refused("POST", "/v1/events", 400, "data-invalid", json=[{**entry, "data": 1}])
    await ask.refused("POST", "/v1/events", 400, "data-invalid", json=[{"channel": word}])


@pytest.mark.parametrize("bad, status, code", [
    ({"channel": "a..b", "data": 1}, 400, "channel-invalid"), ({"channel": "$a", "data": 1}, 403, "channel-reserved"),
    ({"channel": "a", "data": "x" * (1 << 20)}, 413, "too-large"), ({"channel": "a", "data": 1, "colour": 1}, 400, "json-invalid")])
async def test_all_are_published_or_none_and_the_problem_names_the_line(ask, word, bad, status, code):
    before = await ask.end()
    good = {"channel": word, "data": 1}
    for body, kind in ((lines(good, bad, good), NDJSON), (json.dumps([good, bad, good]).encode(), JSON)):
        assert (await ask.refused("POST", "/v1/events", status, code, data=body, headers=kind))["line"] == 2
    assert await ask.end() == before


async def test_with_duplicates_there_are_offsets_one_an_entry_where_repeats_keep_their_old_one(ask, word):
    entry = lambda id: {"channel": word, "data": 1, "id": id}
    first = (await ask.many(entry("a"), entry("b")))["first_offset"]
    answer = await ask.many(entry("c"), entry("b"), entry("d"), entry("a"))
    assert answer == {"first_offset": first + 2, "last_offset": first + 3, "count": 4, "duplicates": 2,
                      "offsets": [first + 2, first + 1, first + 3, first]}


async def test_where_all_are_repeats_the_answer_is_200(ask, word):
    entries = [{"channel": word, "data": n, "id": str(n)} for n in range(3)]
    first = (await ask.many(*entries))["first_offset"]
    answer = await ask.many(*entries, expect=200)
    assert (answer["count"], answer["duplicates"], answer["offsets"]) == (3, 3, [first, first + 1, first + 2])
    assert await ask.end() == first + 3


async def test_the_same_id_twice_in_a_batch_is_400_and_the_problem_names_the_line(ask, word):
    entry = {"channel": word, "data": 1, "id": "x"}
    between = {"channel": word, "data": 1}
    for body, kind in ((lines(entry, between, entry), NDJSON), (json.dumps([entry, between, entry]).encode(), JSON)):
        assert (await ask.refused("POST", "/v1/events", 400, "id-invalid", data=body, headers=kind))["line"] == 3
    assert await ask.found(channels=word) == []


async def test_one_conflicting_id_refuses_all_and_the_problem_names_the_line(ask, word):
    await ask.many({"channel": word, "data": 1, "id": "x"})
    batch = [{"channel": word, "data": 1}, {"channel": word, "data": 2, "id": "x"}]
    for body, kind in ((lines(*batch), NDJSON), (json.dumps(batch).encode(), JSON)):
        assert (await ask.refused("POST", "/v1/events", 409, "id-conflict", data=body, headers=kind))["line"] == 2
    assert await ask.found(channels=word) == [word]
