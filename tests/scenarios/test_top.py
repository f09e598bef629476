"""`top` shows the page of `status` live: drawn on a terminal, a line a second in a pipe (docs/CLI.md)."""

import json
import signal
import subprocess

import pytest

from harness import BINARY, stentor
from terminal import Terminal

ALTERNATE, NORMAL = "\x1b[?1049h", "\x1b[?1049l"


@pytest.fixture
def terminal():
    made = []

    def make(*arguments, **options):
        made.append(Terminal(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def publish(broker, channel, count):
    text = "".join(json.dumps({"channel": channel, "data": n}) + "\n" for n in range(count))
    stentor("publish", "--ndjson", "-", url=broker.url, input=text)


def test_the_page_shows_the_broker_its_subscribers_and_its_channels_and_goes_on(broker, terminal):
    publish(broker, "key.activated", 40)
    publish(broker, "policy.approved", 7)
    stentor("subscribe", "key.*", "--as", "agent", "--from", "earliest", "--count", 5, url=broker.url)
    stentor("connector", "add", "EMS-Scheduler", "--url", "http://127.0.0.1:9/hook", "policy.approved", url=broker.url)
    top = terminal("top", "--every", "200ms", url=broker.url)
    page = top.until(lambda text: "EMS-Scheduler" in text and "agent" in text, what="the page is there")
    assert f"at {broker.url}  ready" in page and "offsets 0 to 47" in page and "2 channels" in page
    assert "1 subscribers" in page and "1 connectors" in page
    (agent,) = [line.split() for line in page.splitlines() if line.startswith("agent")]
    assert agent[1] == "subscriber" and agent[-1] == "away", agent
    channels = [line.split()[:2] for line in page.splitlines() if line.startswith(("key.", "policy."))]
    assert channels == [["key.activated", "40"], ["policy.approved", "7"]]
    publish(broker, "key.activated", 100)
    page = top.until(lambda text: "offsets 0 to 147" in text and "events/s" in text, what="the page goes on")
    assert any(block in page for block in "▁▂▃▄▅▆▇█"), "the rate is a curve"
    top.press("q")
    assert top.ends() == 0
    assert ALTERNATE in top.seen and top.seen.rindex(NORMAL) > top.seen.rindex(ALTERNATE)
    assert top.is_as_before(), "the terminal is the user's again"


@pytest.mark.parametrize("how", ["q", "\x1b", "\x03", signal.SIGTERM])
def test_it_ends_well_however_it_is_asked_to_and_gives_the_terminal_back(broker, terminal, how):
    top = terminal("top", url=broker.url)
    top.until(lambda text: "ready" in text)
    top.process.send_signal(how) if isinstance(how, signal.Signals) else top.press(how)
    assert top.ends() == 0 and top.is_as_before() and NORMAL in top.seen


def test_a_broker_that_goes_away_is_said_and_comes_back(broker, terminal):
    top = terminal("top", "--every", "200ms", url=broker.url)
    top.until(lambda text: "ready" in text)
    broker.kill()
    top.until(lambda text: "cannot be reached" in text, what="it is gone")
    broker.start()
    top.until(lambda text: "cannot be reached" not in text and "ready" in text, what="it is back")


def test_many_subscribers_are_scrolled_and_a_smaller_window_is_drawn_anew(broker, terminal):
    publish(broker, "a", 1)
    for n in range(24):
        stentor("connector", "add", f"c{n:02}", "--url", "http://127.0.0.1:9/x", "none", url=broker.url)
    top = terminal("top", "--every", "200ms", url=broker.url, lines=26)
    top.until(lambda text: "\nc00" in text)
    assert "\nc23" not in top.text
    top.press("\x1b[6~")  # page down
    top.until(lambda text: "\nc00" not in text and "\nc10" in text, what="ten further down")
    top.press("\x1b[A")
    top.until(lambda text: "\nc09" in text, what="one up")
    top.resize(60, 24)
    top.until(lambda text: "ready" in text and "\nc09" in text, what="the page in a smaller window")


def test_in_a_pipe_each_look_is_one_line(broker):
    publish(broker, "a", 3)
    lines = stentor("top", "--count", 3, "--every", "100ms", url=broker.url).stdout.splitlines()
    looks = [json.loads(line) for line in lines]
    assert [look["end"] for look in looks] == [3, 3, 3] and looks[0]["events_per_second"] is None
    assert looks[1]["events_per_second"] == 0 and looks[1]["reached"] and looks[1]["ready"]


def test_in_a_pipe_it_is_a_second_between_looks_and_a_lost_broker_is_a_line(broker):
    with subprocess.Popen([BINARY, "top", "--url", broker.url], stdout=subprocess.PIPE) as top:
        assert json.loads(top.stdout.readline())["reached"]
        broker.kill()
        while (look := json.loads(top.stdout.readline()))["reached"]:
            pass
        assert "cannot be reached" in look["trouble"]
        top.terminate()
    done = stentor("top", "--count", 1, url=broker.url, check=False)
    assert done.returncode == 1 and not json.loads(done.stdout)["reached"]


def test_status_is_a_table_on_a_terminal(broker, terminal):
    shown = terminal("status", url=broker.url)
    assert shown.ends() == 0
    assert "uptime_seconds" in shown.text and "{" not in shown.text
