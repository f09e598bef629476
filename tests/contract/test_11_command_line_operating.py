"""PROTOCOL.md section 11: the commands about listeners, connectors, receipts, files and the broker itself."""

import asyncio
import json
import re

import pytest

from cli import on_a_terminal, printed, published, ran
from connecting import publish
from endpoint import endpoint
from harness import eventually, stentor

HOOK = "http://127.0.0.1:9/hook"


# subscriber


@pytest.fixture
def listener(shared, word):
    """A durable subscriber of that name that has acknowledged the first of two events; gives their offsets."""
    offsets = published(shared, word, 0, 1)
    ran(shared, "subscribe", word, "--as", word, "--from", "earliest", "--count", 1)
    return offsets


def test_subscriber_ls_lists_them(shared, word, listener):
    assert [row["name"] for row in printed(shared, "subscriber", "ls")].count(word) == 1


def test_subscriber_show_shows_one(shared, word, listener):
    shown, = printed(shared, "subscriber", "show", word)
    assert (shown["name"], shown["channels"], shown["cursor"], shown["lag"]) == (word, [word], listener[1], 1)


def test_subscriber_seek_moves_its_cursor(shared, word, listener):
    assert printed(shared, "subscriber", "seek", word, listener[0]) == [{"cursor": listener[0]}]
    assert printed(shared, "subscriber", "show", word)[0]["cursor"] == listener[0]


def test_subscriber_wait_ends_when_an_offset_is_acknowledged(shared, word, listener):
    assert printed(shared, "subscriber", "wait", word, listener[0]) == [{"reached": True, "cursor": listener[1]}]


def test_subscriber_rm_removes_it(shared, word, listener):
    ran(shared, "subscriber", "rm", word)
    ran(shared, "subscriber", "show", word, status=3)


# connector


async def run(broker, *arguments, **options):
    """Runs a command beside the endpoint that it has to do with; gives what it printed."""
    return await asyncio.to_thread(printed, broker, *arguments, **options)


async def add(broker, name, url=HOOK, *flags):
    return (await run(broker, "connector", "add", name, "--url", url, f"{name}.*", "--broker", broker.url, *flags))[0]


async def test_connector_add_makes_one_and_tells_its_secret(shared, own):
    made = await add(shared, own)
    assert (made["name"], made["url"], made["channels"], made["format"]) == (own, HOOK, [f"{own}.*"], "native")
    assert made["secret"].startswith("whsec_")


async def test_connector_add_sends_its_headers(shared, session, own):
    async with endpoint() as receiver:
        await add(shared, own, receiver.url, "--header", "Authorization: Bearer abc123", "--header", "x-two: a: b")
        await publish(session, shared, 1, channel=f"{own}.e")
        await eventually(lambda: receiver.requests, what="the request")
        assert (receiver.requests[0].headers["authorization"], receiver.requests[0].headers["x-two"]) == ("Bearer abc123", "a: b")


@pytest.mark.parametrize("format", ["native", "data", "cloudevents", "cloudevents-binary"])
async def test_connector_add_takes_a_format(shared, own, format):
    assert (await add(shared, own, HOOK, "--format", format))["format"] == format


async def test_connector_ls_lists_them(shared, own):
    await add(shared, own, HOOK, "--header", "Authorization: Bearer hush")
    rows = await run(shared, "connector", "ls")
    assert [row["url"] for row in rows if row["name"] == own] == [HOOK] and "hush" not in json.dumps(rows)


async def test_connector_show_shows_one_without_its_secret(shared, own):
    await add(shared, own)
    shown, = await run(shared, "connector", "show", own)
    assert (shown["name"], shown["state"]) == (own, "active") and "secret" not in shown


async def test_connector_pause_and_resume(shared, own):
    await add(shared, own)
    for verb, state in (("pause", "paused"), ("resume", "active")):
        await run(shared, "connector", verb, own)
        assert (await run(shared, "connector", "show", own))[0]["state"] == state


async def test_connector_seek_moves_its_cursor(shared, session, own):
    await add(shared, own)
    await run(shared, "connector", "pause", own)
    offset, _ = await publish(session, shared, 1, 2, channel=f"{own}.e")
    assert await run(shared, "connector", "seek", own, offset + 1) == [{"cursor": offset + 1}]


async def test_connector_test_sends_a_sample_and_says_what_came_back(shared, own):
    async with endpoint(lambda event: (202, "noted")) as receiver:
        await add(shared, own, receiver.url)
        answer, = await run(shared, "connector", "test", own)
        assert (answer["status"], answer["response"], len(receiver.requests)) == (202, "noted", 1)


async def test_connector_attempts_prints_the_latest(shared, session, own):
    async with endpoint() as receiver:
        await add(shared, own, receiver.url)
        offset, = await publish(session, shared, 1, channel=f"{own}.e")

        async def noted():
            return await run(shared, "connector", "attempts", own)
        attempt, = await eventually(noted, what="the attempt")
        assert (attempt["offset"], attempt["attempt"], attempt["status"]) == (offset, 1, 200)


async def test_connector_replay_sends_a_range_again(shared, session, own):
    async with endpoint() as receiver:
        await add(shared, own, receiver.url)
        offsets = await publish(session, shared, 1, 2, 3, channel=f"{own}.e")
        await eventually(lambda: len(receiver.accepted) == 3, what="all are taken")
        answer, = await run(shared, "connector", "replay", own, "--from", offsets[0], "--to", offsets[2])
        assert answer["events"] == 2
        await eventually(lambda: receiver.accepted[3:] == offsets[:2], what="the first two again")


async def test_connector_rotate_secret_tells_the_new_one(shared, own):
    made = await add(shared, own)
    rotated, = await run(shared, "connector", "rotate-secret", own)
    assert rotated["secret"].startswith("whsec_") and rotated["secret"] != made["secret"]


async def test_connector_rm_removes_it(shared, own):
    await add(shared, own)
    await run(shared, "connector", "rm", own)
    await run(shared, "connector", "show", own, status=3)


# dead-letter, receipts


async def given_up(session, broker, own, receiver):
    await add(broker, own, receiver.url, "--give-up-after", "1")
    offset, = await publish(session, broker, 1, channel=f"{own}.e")

    async def dead():
        return await run(broker, "dead-letter", "ls", "--subscriber", own)
    return offset, await eventually(dead, what="it is given up")


async def test_dead_letter_ls_lists_what_was_given_up(shared, session, own):
    async with endpoint(lambda event: 500) as receiver:
        offset, (letter,) = await given_up(session, shared, own, receiver)
        assert (letter["subscriber"], letter["offset"], letter["attempts"]) == (own, offset, 1)
        assert letter in await run(shared, "dead-letter", "ls")


async def test_dead_letter_retry_has_it_tried_again(shared, session, own):
    async with endpoint(lambda event: 500) as receiver:
        offset, _ = await given_up(session, shared, own, receiver)
        receiver.answer = lambda event: 200
        assert await run(shared, "dead-letter", "retry", own, offset) == [{"queued": 1}]
        await eventually(lambda: receiver.accepted == [offset], what="it is taken")


def test_receipts_of_a_subscriber(shared, word, listener):
    receipt, = printed(shared, "receipts", "--subscriber", word)
    assert (receipt["subscriber"], receipt["to"], receipt["outcome"]) == (word, listener[0] + 1, "acked")


def test_receipts_of_an_offset(shared, word, listener):
    found = {receipt["subscriber"]: receipt["state"] for receipt in printed(shared, "receipts", "--offset", listener[0])}
    assert found == {word: "acked"}


def test_receipts_of_a_channel(shared, word, listener):
    assert [receipt["to"] for receipt in printed(shared, "receipts", "--channel", word)] == [listener[0] + 1]
    assert printed(shared, "receipts", "--channel", f"{word}.other") == []


# export, verify, repair


@pytest.fixture
def kept(brokers):
    """A broker that has ten events on two channels."""
    broker = brokers("kept").start()
    lines = "".join(json.dumps({"channel": "ab"[n % 2], "data": {"n": n}}) + "\n" for n in range(10))
    ran(broker, "publish", "--ndjson", "-", input=lines)
    return broker


def data_of(file):
    """The numbers of an export's events, and its last line."""
    *events, last = [json.loads(line) for line in file.read_text().splitlines()]
    return [event["data"]["n"] for event in events], last


def test_export_writes_everything_from_a_broker_to_a_file(kept, tmp_path):
    ran(kept, "export", "--out", tmp_path / "out")
    assert data_of(tmp_path / "out") == (list(range(10)), {"checkpoint": None, "from": 0, "to": 10, "events": 10})


def test_export_takes_patterns_from_and_to(kept, tmp_path):
    ran(kept, "export", "--out", tmp_path / "out", "a", "--from", 2, "--to", 7)
    events, last = data_of(tmp_path / "out")
    assert events == [2, 4, 6] and (last["from"], last["to"], last["events"]) == (2, 7, 3)


def test_export_data_is_from_a_folder_that_no_broker_holds_and_the_same(kept, tmp_path):
    ran(kept, "export", "--out", tmp_path / "one")
    kept.stop()
    ran(None, "export", "--out", tmp_path / "two", "--data", kept.data)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_export_data_of_a_folder_that_a_broker_holds_fails(kept, tmp_path):
    assert "in use" in ran(None, "export", "--out", tmp_path / "out", "--data", kept.data, status=1).stderr


@pytest.mark.parametrize("source", ["broker", "folder"])
def test_export_shows_progress(kept, tmp_path, source):
    lines = "".join(json.dumps({"channel": "a", "data": "x" * 1_000}) + "\n" for _ in range(10_000))
    ran(kept, "publish", "--ndjson", "-", input=lines)
    if source == "folder":
        kept.stop()
    folder = ["--data", kept.data] if source == "folder" else []
    status, seen = on_a_terminal(kept, "export", "--out", tmp_path / "out", *folder)
    assert status == 0 and re.search(r"exported .*?[1-9]", seen), seen[:500]


def test_verify_of_an_export_that_is_whole_says_what_it_found(kept, tmp_path):
    ran(kept, "export", "--out", tmp_path / "out")
    *_, report = printed(None, "verify", tmp_path / "out")
    assert (report["clean"], report["events"], report["start"], report["end"]) == (True, 10, 0, 10)


def test_verify_of_a_folder_that_is_whole_says_what_it_found(kept):
    kept.stop()
    *_, report = printed(None, "verify", kept.data)
    assert (report["clean"], report["events"], report["start"], report["end"]) == (True, 10, 0, 10)


def harm(file, find, replace):
    whole = file.read_bytes()
    assert whole.count(find) == 1
    file.write_bytes(whole.replace(find, replace))


@pytest.mark.parametrize("find, replace", [(b'"offset":4', b'"offset":5'), (b'"events":10}', b'"events":9}'),
                                           (b'{"checkpoint"', b'{"checkpoin_"'), (b'{"n": 4}}', b'{"n": 4}')],
                         ids=["an offset", "the count", "the last line", "a line that is no JSON"])
def test_verify_exits_1_where_anything_is_wrong_with_an_export(kept, tmp_path, find, replace):
    file = tmp_path / "out"
    ran(kept, "export", "--out", file)
    harm(file, find, replace)
    found = [json.loads(line) for line in ran(None, "verify", file, status=1).stdout.splitlines()]
    assert found[-1]["clean"] is False and found[0]["detail"]


@pytest.mark.parametrize("log", ["events", "ledger"])
def test_verify_exits_1_where_a_checksum_of_a_folder_is_wrong_and_says_where(kept, log):
    ran(kept, "subscribe", "a", "--as", "w", "--from", "earliest", "--count", 1)
    ran(kept, "publish", "a", "10")
    kept.stop()
    segment = kept.data / log / "00000000000000000000.seg"
    raw = bytearray(segment.read_bytes())
    used = len(bytes(raw).rstrip(b"\0"))
    raw[1_024 + (used - 1_024) // 3] ^= 1
    segment.write_bytes(raw)
    found = [json.loads(line) for line in ran(None, "verify", kept.data, status=1).stdout.splitlines()]
    assert [finding["file"] for finding in found[:-1] if finding["harm"]] == [str(segment)] and found[-1]["clean"] is False
    assert 1_024 <= found[0]["byte"] < used


def test_repair_restores_a_damaged_range_from_an_export_that_verifies(kept, tmp_path):
    ran(kept, "export", "--out", tmp_path / "out")
    kept.stop()
    harm(kept.data / "events" / "00000000000000000000.seg", b'{"n": 5}', b'{"n": 6}')
    ran(None, "verify", kept.data, status=1)
    ran(None, "repair", kept.data, "--from", tmp_path / "out")
    ran(None, "verify", kept.data)
    kept.start()
    assert [event["data"]["n"] for event in printed(kept, "read")] == list(range(10))


def test_repair_refuses_an_export_that_is_filtered(kept, tmp_path):
    ran(kept, "export", "--out", tmp_path / "out", "a")
    kept.stop()
    harm(kept.data / "events" / "00000000000000000000.seg", b'{"n": 5}', b'{"n": 6}')
    assert ran(None, "repair", kept.data, "--from", tmp_path / "out", status=1).stderr


# status, top, bench, demo, config


def test_status_is_one_page_of_state(kept):
    page, = printed(kept, "status")
    assert {"ready": True, "start": 0, "end": 10, "channels": 2, "subscribers": 0, "connectors": 0}.items() <= page.items()


def test_top_is_the_same_again_and_again(kept):
    page, = printed(kept, "status")
    looks = printed(kept, "top", "--every", "50ms", "--count", 3)
    assert len(looks) == 3 and all(set(page) <= set(look) and look["end"] == 10 for look in looks)


@pytest.mark.parametrize("load", ["publish", "fanout", "replay", "connector"])
def test_bench_puts_a_load_on_a_running_broker_and_gives_latency_percentiles(kept, load):
    figures, = printed(kept, "bench", load, *([] if load == "replay" else ["--count", 20]))
    percentiles = [figures["latency_ms"][name] for name in ("p50", "p90", "p99", "p99_9", "max")]
    assert percentiles == sorted(percentiles) and percentiles[0] > 0 and figures["events"] > 0
    assert printed(kept, "status")[0]["end"] == (10 if load == "replay" else 30)


def test_demo_shows_what_was_promised_and_exits_0():
    shown = stentor("demo").stdout
    for part in ("comes back", "fail", "receipt"):
        assert part in shown, shown


def test_config_check_tells_faults_and_their_places(tmp_path):
    file = tmp_path / "stentor.toml"
    file.write_text('drain = "3s"\n')
    ran(None, "config", "check", "--config", file)
    file.write_text('drain = "soon"\ncolour = 1\n')
    told = ran(None, "config", "check", "--config", file, status=2).stderr
    assert "line 1: drain" in told and "line 2: colour" in told


def test_config_show_tells_values_and_where_they_were_written(tmp_path):
    file = tmp_path / "stentor.toml"
    file.write_text('drain = "3s"\n')
    rows = {row["key"]: row for row in printed(None, "config", "show", "--config", file)}
    assert rows["drain"]["value"] == "3s" and rows["drain"]["source"] == f"{file} line 1"
    assert (rows["listen"]["value"], rows["data"]["value"]) == ("127.0.0.1:7836", "data")
