"""The command line: results on stdout as NDJSON in a pipe, and the exit status that PROTOCOL.md section 11 gives."""

import json
import os
import subprocess

from harness import BINARY, stentor


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def run(broker, *arguments, status=0, **options):
    done = stentor(*arguments, url=broker.url, check=False, **options)
    assert done.returncode == status, f"{arguments}: {done.returncode} {done.stdout}{done.stderr}"
    assert status == 0 or done.stderr.startswith(("stentor: ", "error: ")), f"one line says why: {done.stderr!r}"
    return done


def test_what_is_published_is_read_heard_acknowledged_and_on_record(broker, tmp_path):
    run(broker, "publish", "key.activated", '{"n":0}', "--id", "a", "--key", "k", "--header", "x=y")
    assert lines(run(broker, "publish", "key.activated", '{"n":0}', "--id", "a", "--key", "k", "--header", "x=y"))[0]["duplicate"]
    run(broker, "publish", "key.activated", "-", input='{"n":1}')
    batch = tmp_path / "batch.ndjson"
    batch.write_text("".join(json.dumps({"channel": "other", "data": n}) + "\n" for n in range(2500)))
    assert lines(run(broker, "publish", "--ndjson", batch)) == [{"published": 2500}]
    assert [event["data"] for event in lines(run(broker, "read", "key.*"))] == [{"n": 0}, {"n": 1}]
    assert len(lines(run(broker, "read"))) == 2502
    heard = lines(run(broker, "subscribe", "key.*", "--as", "worker", "--from", "earliest", "--count", "2"))
    assert [event["offset"] for event in heard] == [0, 1]
    run(broker, "subscriber", "wait", "worker", "1")
    assert lines(run(broker, "receipts", "--offset", "1"))[0]["state"] == "acked"
    assert lines(run(broker, "receipts", "--subscriber", "worker"))[0]["outcome"] == "acked"
    assert lines(run(broker, "subscriber", "show", "worker"))[0]["lag"] == 0
    assert lines(run(broker, "subscriber", "seek", "worker", "0")) == [{"cursor": 0}]
    assert lines(run(broker, "status"))[0]["end"] == 2502


def test_a_command_that_ends_badly_gets_the_event_again(broker, tmp_path):
    run(broker, "publish", "job", "1")
    seen = tmp_path / "seen"
    # Fails the first time, and leaves a trace by which it ends well the second.
    command = f"cat >/dev/null; test -e {seen} || {{ touch {seen}; exit 1; }}"
    run(broker, "subscribe", "job", "--as", "worker", "--from", "earliest", "--count", "1", "--exec", command)
    run(broker, "subscriber", "wait", "worker", "0")
    assert lines(run(broker, "receipts", "--subscriber", "worker"))[0]["attempts"] == 2


def test_an_export_is_whole_from_a_broker_and_from_its_folder_and_verify_finds_what_is_missing(broker, tmp_path):
    for n in range(5):
        run(broker, "publish", "a", str(n))
    one, two = tmp_path / "one.ndjson", tmp_path / "two.ndjson"
    run(broker, "export", "--out", one)
    run(broker, "verify", one)
    assert run(broker, "verify", broker.data, status=1).stderr, "a broker holds it"
    broker.stop()
    run(broker, "export", "--out", two, "--data", broker.data)
    assert one.read_bytes() == two.read_bytes()
    run(broker, "verify", broker.data)
    one.write_text("".join(one.read_text().splitlines(True)[:-1]))
    found = lines(run(broker, "verify", one, status=1))
    assert "last line is missing" in found[0]["detail"]
    run(broker, "verify", tmp_path / "nothing", status=3)


def test_an_export_replaces_a_file_when_it_is_whole_and_nothing_else_ever(broker, tmp_path):
    """With `--out /dev/null` a file took the device's place, and `--out -` made a file of that name."""
    run(broker, "publish", "a", "1")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "old").write_text("kept")
    was = sorted(os.listdir(tmp_path))
    for out in ("-", "folder", "pipe"):
        refused = run(broker, "export", "--out", out, status=2, cwd=tmp_path)
        assert refused.stderr.startswith(f"stentor: --out {out}: ") and refused.stderr.count("\n") == 1, refused.stderr
        assert sorted(os.listdir(tmp_path)) == was
    assert (tmp_path / "pipe").is_fifo()
    # A broker holds the folder.
    run(broker, "export", "--out", "old", "--data", broker.data, status=1, cwd=tmp_path)
    assert (tmp_path / "old").read_text() == "kept"
    run(broker, "export", "--out", "old", cwd=tmp_path)
    assert len((tmp_path / "old").read_text().splitlines()) == 2 and sorted(os.listdir(tmp_path)) == was


def test_who_cannot_be_told_why_still_gets_the_exit_status(tmp_path):
    # What the disk refuses is often the log too: `stentor serve 2>stentor.log` beside a full data directory.
    for arguments, status in ((["frobnicate"], 2), (["read"], 1), (["verify", tmp_path / "none"], 3)):
        with open("/dev/full", "w") as full:
            done = subprocess.run([BINARY, *map(str, arguments)], stderr=full, stdout=subprocess.PIPE, timeout=60,
                                  env={**os.environ, "STENTOR_URL": "http://127.0.0.1:9"})
        assert done.returncode == status, arguments
