"""What `subscribe` and `read` do with what they get (PROTOCOL.md section 11)."""

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.request

from harness import BINARY, stentor


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def published(broker, count, channel="a"):
    text = "".join(json.dumps({"channel": channel, "data": n}) + "\n" for n in range(count))
    stentor("publish", "--ndjson", "-", url=broker.url, input=text)


def test_the_command_gets_each_event_on_its_stdin_and_what_it_ended_well_on_is_acknowledged(broker, tmp_path):
    published(broker, 3)
    out = tmp_path / "out"
    stentor("subscribe", "a", "--as", "w", "--from", "earliest", "--count", 3, "--exec", f"cat >> {out}; echo >> {out}",
            url=broker.url)
    events = [json.loads(line) for line in out.read_text().split("\n") if line]
    assert [event["data"] for event in events] == [0, 1, 2]
    assert lines(stentor("subscriber", "wait", "w", 2, url=broker.url))[0] == {"reached": True, "cursor": 3}


def test_nothing_is_done_or_acknowledged_behind_an_event_whose_command_failed(broker, tmp_path):
    # The story: what had been sent before the nack was run and acknowledged, and an ack covers all before it.
    published(broker, 4)
    out, failed = tmp_path / "out", tmp_path / "failed"
    command = (f"read e; echo \"$e\" >> {out}; case \"$e\" in *'\"data\":1'*) [ -e {failed} ] || "
               f"{{ touch {failed}; exit 1; }};; esac")
    done = stentor("subscribe", "a", "--as", "w", "--from", "earliest", "--count", 4, "--exec", command,
                   url=broker.url)
    assert "failed on offset 1" in done.stderr
    ran = [json.loads(line)["data"] for line in out.read_text().splitlines()]
    assert ran == [0, 1, 1, 2, 3]
    assert lines(stentor("subscriber", "wait", "w", 3, url=broker.url))[0] == {"reached": True, "cursor": 4}


def test_a_command_may_take_longer_than_the_broker_waits_for_a_pong(broker):
    # The story: nothing was heard or said while a command ran, and the session it was to be acknowledged in was over.
    published(broker, 1)
    stentor("subscribe", "a", "--as", "w", "--from", "earliest", "--count", 1, "--exec", "sleep 45", url=broker.url)
    assert lines(stentor("subscriber", "wait", "w", 0, url=broker.url))[0] == {"reached": True, "cursor": 1}


def test_a_command_that_takes_longer_than_the_ack_timeout_is_run_once(broker, tmp_path):
    published(broker, 2)
    out = tmp_path / "out"
    stentor("subscribe", "a", "--as", "w", "--from", "earliest", "--count", 1, url=broker.url)
    stentor("subscriber", "wait", "w", 0, url=broker.url)
    settings = json.dumps({"channels": ["a"], "ack_timeout": "1s"}).encode()
    put = urllib.request.Request(f"{broker.url}/v1/subscribers/w", settings, {"content-type": "application/json"},
                                 method="PUT")
    with urllib.request.urlopen(put) as answer:
        assert answer.status == 200
    stentor("subscribe", "a", "--as", "w", "--count", 1, "--exec", f"echo ran >> {out}; sleep 8", url=broker.url)
    assert out.read_text() == "ran\n"
    assert lines(stentor("subscriber", "wait", "w", 1, url=broker.url))[0] == {"reached": True, "cursor": 2}


@contextlib.contextmanager
def listening(broker, *arguments):
    """`subscribe`, going on until it ends by itself or the block is left; its command ends with it."""
    process = subprocess.Popen([BINARY, "subscribe", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "STENTOR_URL": broker.url}, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)


def sessions(broker):
    """How many the broker has open; one that it closed counts until its client has answered that."""
    with urllib.request.urlopen(f"{broker.url}/metrics") as answer:
        said = [line for line in answer.read().decode().splitlines() if line.startswith("stentor_sessions{")]
    return sum(int(line.split()[-1]) for line in said)


@contextlib.contextmanager
def at_work(broker, folder):
    """A named listener whose command runs for the first of three events until `go` is written; `began` has a line a run."""
    published(broker, 3)
    began, go = folder / "began", folder / "go"
    os.mkfifo(go)
    with listening(broker, "a", "--as", "w", "--from", "earliest", "--exec", f"echo >> {began}; cat {go}") as process:
        while not began.exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        yield process, began, go


def successor_has_all(second):
    assert [json.loads(second.stdout.readline())["offset"] for _ in range(3)] == [0, 1, 2]


def only_one_session_is_left(broker, within):
    deadline = time.monotonic() + within
    while sessions(broker) != 1:
        assert time.monotonic() < deadline, f"there are {sessions(broker)} sessions after {within} s"
        time.sleep(0.02)


def ends_taken_over(first, began):
    _, said = first.communicate(timeout=60)
    assert first.returncode != 0 and "4509" in said, said
    assert began.read_text() == "\n", "a command ran for what is its successor's"


def test_who_was_taken_over_while_a_command_ran_does_not_take_the_session_back(broker, tmp_path):
    # The story: the close was met while the command ran, and forgotten for the ack that could not be sent. It came back,
    # took the session from its successor, and then believed the old close: nobody listened any more. Later it did not
    # come back, but ran its command for all that it had been sent, beside its successor.
    with at_work(broker, tmp_path) as (first, began, go), listening(broker, "a", "--as", "w") as second:
        successor_has_all(second)
        # Until it has met the close it cannot know; it answers that at once, though its command runs.
        only_one_session_is_left(broker, within=8)
        # It ends its command, which nobody waits for any more.
        go.write_text("")
        ends_taken_over(first, began)
        published(broker, 1)
        assert json.loads(second.stdout.readline())["offset"] == 3


def test_who_was_stopped_while_it_was_taken_over_hears_of_that_before_it_goes_on(broker, tmp_path):
    # The story: what had been kept while a command ran was given before the socket was looked at, and behind it stood
    # the close. Its successor had all of it already.
    with at_work(broker, tmp_path) as (first, began, go):
        os.kill(first.pid, signal.SIGSTOP)
        with listening(broker, "a", "--as", "w") as second:
            successor_has_all(second)
            # The broker has waited for an answer to its close, and gave that up.
            only_one_session_is_left(broker, within=60)
            go.write_text("")
            os.kill(first.pid, signal.SIGCONT)
            ends_taken_over(first, began)


def test_an_ack_that_was_refused_is_made_again_when_the_event_comes_again(broker, tmp_path):
    # The story: behind a nack an ack counts only once the event was sent again. One that was refused for that was never
    # made again, and the cursor stood for good.
    published(broker, 1)
    settings = json.dumps({"channels": ["a"], "ack_timeout": "1s", "window": 1, "from": "earliest"}).encode()
    put = urllib.request.Request(f"{broker.url}/v1/subscribers/w", settings, {"content-type": "application/json"},
                                 method="PUT")
    with urllib.request.urlopen(put) as answer:
        assert answer.status in (200, 201)
    command = f"[ -e {tmp_path}/failed ] || {{ touch {tmp_path}/failed; sleep 3; exit 1; }}"
    with listening(broker, "a", "--as", "w", "--exec", command):
        waited = lines(stentor("subscriber", "wait", "w", 0, url=broker.url))[0]
        assert waited == {"reached": True, "cursor": 1}


def test_without_a_name_a_command_that_fails_is_said_and_the_next_event_comes(broker, tmp_path):
    published(broker, 2)
    done = stentor("subscribe", "a", "--from", "earliest", "--count", 1, "--exec", "grep -q '\"data\":1'",
                   url=broker.url)
    assert "failed on offset 0" in done.stderr and "--as" in done.stderr


def test_a_named_listener_goes_on_where_it_was_and_from_is_for_new_ones(broker):
    published(broker, 4)
    first = stentor("subscribe", "a", "--as", "w", "--from", 1, "--count", 2, url=broker.url)
    assert [event["offset"] for event in lines(first)] == [1, 2]
    stentor("subscriber", "wait", "w", 2, url=broker.url)
    second = stentor("subscribe", "a", "--as", "w", "--from", "earliest", "--count", 1, url=broker.url)
    assert [event["offset"] for event in lines(second)] == [3]


def test_what_the_broker_refuses_for_good_is_wrong_usage_with_its_reason(broker):
    done = stentor("subscribe", "not a pattern", url=broker.url, check=False)
    assert done.returncode == 2 and "not a pattern" in done.stderr, done


def test_a_range_is_from_to_and_limit_and_tables_are_for_people(broker):
    published(broker, 5)
    published(broker, 5, channel="b")
    found = lines(stentor("read", "--from", 1, "--to", 4, url=broker.url))
    assert [event["offset"] for event in found] == [1, 2, 3]
    found = lines(stentor("read", "b", "--limit", 2, url=broker.url))
    assert [event["offset"] for event in found] == [5, 6]
    assert stentor("read", "b", "--limit", 1, "--output", "table", url=broker.url).stdout.split()[0] == "5"
    assert stentor("read", "--from", 11, url=broker.url, check=False).returncode == 2
    table = stentor("subscriber", "ls", "--output", "table", url=broker.url).stdout
    assert "cursor" in table and not table.startswith("{")


def test_a_dry_run_shows_what_would_go_and_leaves_it(broker):
    published(broker, 1)
    stentor("subscribe", "a", "--as", "w", "--from", "earliest", "--count", 1, url=broker.url)
    assert lines(stentor("subscriber", "rm", "w", "--dry-run", url=broker.url))[0]["name"] == "w"
    assert stentor("subscriber", "show", "w", url=broker.url).returncode == 0
    stentor("subscriber", "rm", "w", url=broker.url)
    assert stentor("subscriber", "show", "w", url=broker.url, check=False).returncode == 3


def test_a_token_may_stand_in_a_file(broker, tmp_path):
    file = tmp_path / "token"
    file.write_text("secret\n")
    stentor("status", "--token-file", file, url=broker.url)
    done = stentor("status", "--token-file", tmp_path / "nothing", url=broker.url, check=False)
    assert done.returncode == 2 and "nothing" in done.stderr
