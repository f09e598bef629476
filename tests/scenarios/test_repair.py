"""Damage on the real binary: refused and named, served around, repaired from an export, or given up for good."""

import json
import signal
import subprocess

import websockets

from harness import BINARY, call, http, stentor, verify

EVENTS = 400


def harm(data):
    """Turns one byte in the middle of the oldest segment; its views forget it."""
    segment = sorted((data / "events").glob("*.seg"))[0]
    raw = bytearray(segment.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    segment.write_bytes(raw)
    for summary in (data / "views" / "segments").glob("*"):
        summary.unlink()
    return segment


async def filled(brokers, tmp_path, **environment):
    broker = brokers("data", environment={"STENTOR_SEGMENTS_EVENTS": "65536", **environment}).start()
    async with http() as session:
        await call(session, "PUT", f"{broker.url}/v1/subscribers/ui", json={"channels": ["key.*"]}, expect=201)
        for first in range(0, EVENTS, 100):
            lines = "".join(json.dumps({"channel": "key.a", "data": [n, "x" * 400]}) + "\n" for n in range(first, first + 100))
            await call(session, "POST", broker.url + "/v1/events", data=lines.encode(), expect=201,
                       headers={"content-type": "application/x-ndjson"})
    export = tmp_path / "export.ndjson"
    stentor("export", "--out", export, url=broker.url)
    broker.stop()
    return broker, export


def refused(data):
    """What the broker says instead of starting."""
    ended = subprocess.run([BINARY, "serve", "--data", str(data), "--listen", "127.0.0.1:0"], capture_output=True,
                           text=True, timeout=60)
    assert ended.returncode == 1, ended
    return ended.stderr


async def heard(broker):
    """Offsets and gaps that a durable listener is given up to the live end."""
    events, gaps = [], []
    async with websockets.connect(broker.ws + "?subscriber=ui", subprotocols=["stentor.v1.json"]) as socket:
        while True:
            frame = json.loads(await socket.recv())
            if frame["op"] == "event":
                events.append(frame["offset"])
                await socket.send(json.dumps({"op": "ack", "offset": frame["offset"]}))
            elif frame["op"] == "gap":
                gaps.append((frame["from"], frame["to"]))
            elif frame["op"] == "caught_up":
                await socket.send(json.dumps({"op": "ack", "offset": max(events), "confirm": True}))
                while json.loads(await socket.recv())["op"] != "acked":
                    pass
                return events, gaps


async def test_a_damaged_range_is_named_refused_and_repaired_from_an_export(brokers, tmp_path):
    broker, export = await filled(brokers, tmp_path)
    before = verify(broker.data)
    assert before["leaves"] == json.loads(stentor("verify", export).stdout.splitlines()[-1])["leaves"]
    segment = harm(broker.data)
    said = refused(broker.data)
    assert segment.name in said and "at byte" in said and "offsets" in said, said
    found = stentor("verify", broker.data, check=False)
    assert found.returncode == 1 and segment.name in found.stdout, found
    short = tmp_path / "short.ndjson"
    short.write_text("".join(export.read_text().splitlines(keepends=True)[200:]))
    unfit = stentor("repair", broker.data, "--from", short, check=False)
    assert unfit.returncode == 1 and unfit.stderr.startswith("stentor: "), unfit
    assert stentor("repair", broker.data, "--from", tmp_path / "none", check=False).returncode == 3
    done = [json.loads(line) for line in stentor("repair", broker.data, "--from", export).stdout.splitlines()]
    assert done[-1]["ranges"] == 1 and done[0]["repaired"] and done[0]["to"] - done[0]["from"] == 1, done
    assert verify(broker.data)["leaves"] == before["leaves"], "the same events, byte for byte"
    assert list((broker.data / "quarantine").glob("events-*.seg")), "the damaged segment is kept"
    broker.start()
    events, gaps = await heard(broker)
    assert (events, gaps) == (list(range(EVENTS)), [])
    in_use = stentor("repair", broker.data, "--from", export, check=False)
    assert in_use.returncode == 1 and "in use" in in_use.stderr, in_use
    broker.stop()


async def test_a_damaged_range_is_served_around_as_a_gap_and_nothing_is_taken(brokers, tmp_path):
    broker, _ = await filled(brokers, tmp_path)
    harm(broker.data)
    broker.arguments = ["--recover", "serve-readable"]
    broker.start()
    async with http() as session:
        status, problem = await call(session, "POST", broker.url + "/v1/events/key.a", json=1)
        assert status == 503 and "read-only" in problem["detail"], problem
    query = "?channels=key.*&from=earliest"
    async with websockets.connect(broker.ws + query, subprotocols=["stentor.v1.json"]) as socket:
        events, gaps = [], []
        while (frame := json.loads(await socket.recv()))["op"] != "caught_up":
            if frame["op"] == "event":
                events.append(frame["offset"])
            elif frame["op"] == "gap":
                gaps.append((frame["from"], frame["to"]))
    assert len(gaps) == 1 and gaps[0][1] - gaps[0][0] == 1, gaps
    assert events == [n for n in range(EVENTS) if n != gaps[0][0]]
    broker.process.send_signal(signal.SIGTERM)
    assert broker.process.wait(30) == 0


async def test_an_export_of_what_is_served_around_tells_the_gap_to_the_very_end(brokers, tmp_path):
    # The story: with the newest segment unreadable an export ended before it, and said that it was whole.
    broker, _ = await filled(brokers, tmp_path)
    newest = sorted((broker.data / "events").glob("*.seg"))[-1]
    raw = bytearray(newest.read_bytes())
    raw[40] ^= 1
    raw[512 + 40] ^= 1
    newest.write_bytes(raw)
    broker.arguments = ["--recover", "serve-readable"]
    broker.start()
    around = tmp_path / "around.ndjson"
    stentor("export", "--out", around, url=broker.url)
    lines = [json.loads(line) for line in around.read_text().splitlines()]
    first = int(newest.stem)
    assert [line["offset"] for line in lines if "offset" in line] == list(range(first))
    assert [line["gap"] for line in lines if "gap" in line] == [{"from": first, "to": EVENTS}], lines[-2:]
    assert lines[-1]["to"] == EVENTS and lines[-1]["events"] == first, lines[-1]
    broker.process.send_signal(signal.SIGTERM)
    assert broker.process.wait(30) == 0


async def test_what_an_operator_gives_up_is_told_to_who_had_not_acknowledged_it_and_offsets_go_on(brokers, tmp_path):
    broker, _ = await filled(brokers, tmp_path)
    harm(broker.data)
    broker.arguments = ["--recover", "accept-loss"]
    broker.start()
    events, gaps = await heard(broker)
    assert len(gaps) == 1 and gaps[0][1] - gaps[0][0] == 1, gaps
    lost = gaps[0][0]
    assert events == [n for n in range(EVENTS) if n != lost], "everything else, in order, once"
    async with http() as session:
        _, made = await call(session, "POST", broker.url + "/v1/events/key.a", json=1, expect=201)
        assert made["offset"] == EVENTS
        _, shown = await call(session, "GET", f"{broker.url}/v1/subscribers/ui", expect=200)
        assert (shown["cursor"], shown["lag"]) == (EVENTS, 1), shown
    broker.stop()
    broker.arguments = []
    broker.start()
    events, gaps = await heard(broker)
    assert (events, gaps) == ([EVENTS], []), "told once, and no start refuses any more"
    broker.stop()
    verify(broker.data)
