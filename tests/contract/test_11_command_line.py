"""PROTOCOL.md section 11: what holds for every command, and the commands about events."""

import json
import os
import re
import signal
import subprocess

import pytest

from cli import on_a_terminal, printed, published, ran
from harness import BINARY, eventually, stentor


def bare():
    return {name: value for name, value in os.environ.items() if not name.startswith("STENTOR_")}


# stentor, serve


class Serving:
    """A broker as somebody starts it by hand."""

    def __init__(self, *arguments, cwd, prefix=()):
        self.process = subprocess.Popen([*prefix, BINARY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=cwd, env=bare())

    def __enter__(self):
        self.first = self.process.stdout.readline().decode()
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        self.rest = self.process.stdout.read()
        self.process.stdout.close()


@pytest.mark.parametrize("command", [[], ["serve"]], ids=["stentor", "stentor serve"])
def test_stentor_without_a_command_is_stentor_serve(tmp_path, command):
    with Serving(*command, "--data", "d", "--listen", "127.0.0.1:0", cwd=tmp_path) as serving:
        assert stentor("status", url=serving.first.strip()).returncode == 0
    assert (tmp_path / "d" / "events").is_dir()


def test_the_first_line_on_stdout_is_the_url_that_it_serves_alone_and_port_0_picks_one(tmp_path):
    ports = set()
    for _ in range(2):
        with Serving("serve", "--data", "d", "--listen", "127.0.0.1:0", cwd=tmp_path) as serving:
            found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)\n", serving.first)
            assert found, serving.first
            ports.add(found[1])
        assert serving.rest == b""
    assert "0" not in ports


def test_the_defaults_are_data_and_127_0_0_1_7836_and_every_command_knows_that_address(tmp_path):
    # In a network of its own, where nobody else has the port.
    alone = f'ip link set lo up; "{BINARY}" serve > url & sleep 0.1; until [ -s url ]; do kill -0 $! || exit 9; sleep 0.05; done; ' \
            f'"{BINARY}" status > status; echo $? > code; kill $!; wait $!'
    subprocess.run(["unshare", "--user", "--map-root-user", "--net", "sh", "-c", alone], cwd=tmp_path, env=bare(), timeout=60, check=True,
                   stderr=subprocess.DEVNULL)
    assert (tmp_path / "url").read_text() == "http://127.0.0.1:7836\n"
    assert (tmp_path / "data" / "events").is_dir()
    assert (tmp_path / "code").read_text() == "0\n" and json.loads((tmp_path / "status").read_text())["ready"] is True


def test_config_names_a_file(tmp_path):
    (tmp_path / "mine.toml").write_text('data = "elsewhere"\nlisten = "127.0.0.1:0"\n')
    with Serving("serve", "--config", "mine.toml", cwd=tmp_path) as serving:
        assert serving.first.startswith("http://127.0.0.1:")
    assert (tmp_path / "elsewhere" / "events").is_dir()


# Where the broker is, how results look, how a command ends


def test_url_says_where_the_broker_is(shared):
    done = subprocess.run([BINARY, "status", "--url", shared.url], capture_output=True, text=True, timeout=30, env=bare())
    assert done.returncode == 0 and json.loads(done.stdout)["ready"] is True


def test_stentor_url_says_so_too_and_the_flag_wins(shared):
    for named, flags in ((shared.url, []), ("http://127.0.0.1:9", ["--url", shared.url])):
        done = subprocess.run([BINARY, "status", *flags], capture_output=True, text=True, timeout=30, env={**bare(), "STENTOR_URL": named})
        assert done.returncode == 0 and json.loads(done.stdout)["ready"] is True


def test_in_a_pipe_results_are_ndjson(shared, word):
    published(shared, word, 1, 2)
    lines = ran(shared, "read", word).stdout.splitlines()
    assert [json.loads(line)["data"] for line in lines] == [1, 2]


def test_on_a_terminal_results_are_for_people(shared):
    status, seen = on_a_terminal(shared, "status")
    assert status == 0 and "ready" in seen and "{" not in seen


def test_output_json_gives_objects_on_a_terminal(shared):
    status, seen = on_a_terminal(shared, "status", "--output", "json")
    assert status == 0 and json.loads(seen)["ready"] is True


def test_output_table_is_for_people_in_a_pipe(shared):
    shown = ran(shared, "status", "--output", "table").stdout
    assert "ready" in shown and "{" not in shown


def test_exit_status_0_is_done(shared):
    ran(shared, "status", status=0)


@pytest.mark.parametrize("why", ["conflict", "no broker"])
def test_exit_status_1_is_failed(shared, word, why):
    if why == "conflict":
        ran(shared, "publish", word, "1", "--id", "x")
        ran(shared, "publish", word, "2", "--id", "x", status=1)
    else:
        done = stentor("status", url="http://127.0.0.1:9", check=False)
        assert done.returncode == 1 and "cannot be reached" in done.stderr


@pytest.mark.parametrize("arguments", [
    ["frobnicate"], ["publish"], ["subscribe"], ["bench"], ["top", "--count", "0"], ["subscribe", "a", "--count", "0"],
    ["status", "--url", "nowhere"], ["completions", "tcsh"], ["read", "--colour"], ["status", "--output", "xml"],
    ["publish", "a b", "1"], ["read", "--from", "nowhere"], ["publish", "a", "{"]], ids=" ".join)
def test_exit_status_2_is_wrong_usage(shared, arguments):
    assert ran(shared, *arguments, status=2).stderr


@pytest.mark.parametrize("arguments", [["subscriber", "show", "nobody"], ["subscriber", "rm", "nobody"], ["connector", "show", "nobody"],
                                       ["receipts", "--offset", "999999"], ["publish", "--ndjson", "no-such-file"],
                                       ["verify", "no-such-file"], ["repair", "no-such-folder", "--from", "no-such-file"]], ids=" ".join)
def test_exit_status_3_is_not_found(shared, arguments):
    assert ran(shared, *arguments, status=3).stderr


def test_exit_status_4_is_timed_out(shared, word):
    listener(shared, word)
    offset, = published(shared, word, 1)
    ran(shared, "subscriber", "wait", word, offset, "--timeout", "50ms", status=4)


# publish


def test_publish_publishes_one_event_and_prints_its_place(shared, word):
    made, = printed(shared, "publish", word, '{"n": 1}')
    event, = printed(shared, "read", word)
    assert event["data"] == {"n": 1} and made == {name: event[name] for name in ("offset", "id", "channel", "time")}


def test_publish_with_a_dash_reads_stdin(shared, word):
    ran(shared, "publish", word, "-", input='{"from":"stdin"}')
    assert printed(shared, "read", word)[0]["data"] == {"from": "stdin"}


@pytest.mark.parametrize("flags, expected", [(["--id", "mine"], {"id": "mine"}), (["--key", "k"], {"key": "k"}),
                                             (["--header", "a=b", "--header", "c=d=e"], {"headers": {"a": "b", "c": "d=e"}})],
                         ids=["id", "key", "header"])
def test_publish_gives_the_event_its(shared, word, flags, expected):
    ran(shared, "publish", word, "1", *flags)
    event, = printed(shared, "read", word)
    assert expected.items() <= event.items()


def batch(tmp_path, word, count):
    file = tmp_path / "events.ndjson"
    file.write_text("".join(f'{{"channel":"{word}","data":{n}}}\n' for n in range(count)))
    return file


def test_publish_ndjson_publishes_many(shared, word, tmp_path):
    ran(shared, "publish", "--ndjson", batch(tmp_path, word, 2_500))
    assert [event["data"] for event in printed(shared, "read", word)] == list(range(2_500))


def test_publish_ndjson_shows_progress(shared, word, tmp_path):
    status, seen = on_a_terminal(shared, "publish", "--ndjson", batch(tmp_path, word, 20_000))
    assert status == 0
    # The bar is drawn over and over: it was somewhere on the way, and the result stands behind it.
    assert any(0 < int(number) < 20_000 for number in re.findall(r"published (\d+)", seen)), seen[:500]


# subscribe


def listener(broker, word):
    """A durable subscriber of that name, made by one session of the command."""
    published(broker, word, "first")
    ran(broker, "subscribe", word, "--as", word, "--from", "earliest", "--count", 1)


def test_subscribe_prints_each_event_of_its_patterns(shared, word):
    for name in ("one", "other", "two"):
        published(shared, f"{word}.{name}", name)
    heard = printed(shared, "subscribe", f"{word}.one", f"{word}.two", "--from", "earliest", "--count", 2)
    assert [event["data"] for event in heard] == ["one", "two"]
    event = printed(shared, "read", f"{word}.one")[0]
    assert event.items() <= heard[0].items()


async def test_subscribe_without_from_begins_with_what_comes(shared, session, word):
    published(shared, word, "before")

    async def listens():
        async with session.get(f"{shared.url}/metrics") as answer:
            return 'stentor_sessions{kind="websocket"} 1' in await answer.text()
    with subprocess.Popen([BINARY, "subscribe", word, "--count", "1"], stdout=subprocess.PIPE, env={**bare(), "STENTOR_URL": shared.url}) as heard:
        await eventually(listens, what="its session is live")
        published(shared, word, "after")
        assert json.loads(heard.stdout.readline())["data"] == "after"


def test_subscribe_from_begins_there(shared, word):
    offsets = published(shared, word, 0, 1, 2)
    heard = printed(shared, "subscribe", word, "--from", offsets[1], "--count", 2)
    assert [event["offset"] for event in heard] == offsets[1:]


def test_subscribe_count_ends_after_so_many(shared, word):
    published(shared, word, *range(5))
    assert len(printed(shared, "subscribe", word, "--from", "earliest", "--count", 3)) == 3


def test_subscribe_as_is_durable_and_acknowledges_what_was_printed(shared, word):
    offsets = published(shared, word, 0, 1, 2)
    first = printed(shared, "subscribe", word, "--as", word, "--from", "earliest", "--count", 2)
    assert [event["offset"] for event in first] == offsets[:2]
    assert printed(shared, "subscriber", "show", word)[0]["cursor"] == offsets[2]
    second = printed(shared, "subscribe", word, "--as", word, "--count", 1)
    assert [event["offset"] for event in second] == offsets[2:]


def test_subscribe_exec_runs_a_command_with_the_event_on_its_stdin(shared, word, tmp_path):
    published(shared, word, 0, 1)
    out = tmp_path / "out"
    ran(shared, "subscribe", word, "--from", "earliest", "--count", 2, "--exec", f"cat >> {out}; echo >> {out}")
    assert [json.loads(line)["data"] for line in out.read_text().split()] == [0, 1]


def test_subscribe_exec_acknowledges_what_the_command_ended_well_on(shared, word):
    offsets = published(shared, word, 0, 1)
    ran(shared, "subscribe", word, "--as", word, "--from", "earliest", "--count", 1, "--exec", "true")
    assert printed(shared, "subscriber", "show", word)[0]["cursor"] == offsets[1]


def test_subscribe_exec_does_not_acknowledge_what_the_command_failed_on(shared, word):
    offset, = published(shared, word, 0)
    with subprocess.Popen([BINARY, "subscribe", word, "--as", word, "--from", "earliest", "--exec", "false"], stderr=subprocess.PIPE,
                          env={**bare(), "STENTOR_URL": shared.url}) as heard:
        assert str(offset).encode() in heard.stderr.readline()
        assert printed(shared, "subscriber", "show", word)[0]["cursor"] == offset
        heard.terminate()


# read


def test_read_prints_a_range_and_ends(shared, word):
    offsets = published(shared, word, *range(5))
    found = printed(shared, "read", "--from", offsets[1], "--to", offsets[4])
    assert [event["offset"] for event in found] == offsets[1:4]


def test_read_takes_patterns(shared, word):
    published(shared, f"{word}.one", 1)
    published(shared, f"{word}.two", 2)
    published(shared, f"{word}.three", 3)
    assert [event["data"] for event in printed(shared, "read", f"{word}.one", f"{word}.two")] == [1, 2]
    assert [event["data"] for event in printed(shared, "read", f"{word}.*")] == [1, 2, 3]


def test_read_without_a_pattern_prints_everything_from_the_earliest(brokers):
    broker = brokers().start()
    published(broker, "a", 1)
    published(broker, "b", 2)
    assert [event["data"] for event in printed(broker, "read")] == [1, 2]


def test_read_limit_is_the_most_that_is_printed(shared, word):
    offsets = published(shared, word, *range(5))
    assert [event["offset"] for event in printed(shared, "read", word, "--limit", 2)] == offsets[:2]
