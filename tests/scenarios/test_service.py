"""The process among others: signals, what the service manager is told, and how it ends (docs/OPERATIONS.md)."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import time

import aiohttp
import pytest

from faults import Fault
from harness import BINARY, ROOT, eventually, http, verify

FIRST_SEGMENT = "00000000000000000000.seg"


class Manager:
    """A service manager's end of sd_notify(3): a unix datagram socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(30)
        self.environment = {"NOTIFY_SOCKET": str(path)}

    def told(self):
        """The next message, as its variables."""
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())


@pytest.fixture
def manager(tmp_path):
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.socket.close()


def diagnostics(broker):
    """What was written to stderr; each line must be JSON, for stderr is no terminal."""
    broker.log.flush()
    return [json.loads(line) for line in open(broker.log.name, "rb")]


def test_the_service_manager_is_told_of_the_start_the_reload_and_the_end(brokers, manager):
    broker = brokers(environment=manager.environment)
    broker.start()
    assert manager.told() == {"STATUS": "opening the logs"}
    assert manager.told() == {"READY": "1", "STATUS": f"serving {broker.url}"}
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    broker.process.send_signal(signal.SIGHUP)
    reloading = manager.told()
    assert reloading["RELOADING"] == "1" and int(reloading["MONOTONIC_USEC"]) >= before
    assert manager.told() == {"READY": "1"}
    broker.stop()
    assert manager.told() == {"STOPPING": "1", "STATUS": "draining"}


async def test_a_hangup_puts_the_log_level_and_retention_in_force_and_names_what_takes_a_restart(brokers, tmp_path):
    file = tmp_path / "stentor.toml"
    file.write_text('log = "warn"\n')
    broker = brokers("data", "--config", str(file), environment={"STENTOR_LOG": ""})
    del broker.environment["STENTOR_LOG"]
    broker.start()
    assert diagnostics(broker) == [], "the level is warn, and nothing is wrong"
    file.write_text('log = "debug"\ndrain = "3s"\n[retention]\nmax_age = "1h"\n')
    broker.process.send_signal(signal.SIGHUP)

    def said(message, **fields):
        return [line for line in diagnostics(broker) if line["message"] == message and fields.items() <= line.items()]

    await eventually(lambda: said("the configuration was read again"), what="the level is debug now")
    assert said("in force", key="log", value="debug") and said("in force", key="retention.max_age", value="1h")
    assert said("takes a restart", key="drain", value="3s", level="WARN")
    file.write_text('log = "debug"\ncolour = 1\n')
    broker.process.send_signal(signal.SIGHUP)
    await eventually(lambda: said("the configuration stays as it was", level="ERROR"), what="a fault changes nothing")
    async with http() as session, session.get(f"{broker.url}/health/ready") as answer:
        assert answer.status == 200
    broker.stop()


def test_state_directory_is_where_the_data_lies(tmp_path):
    data = tmp_path / "state"
    bare = {name: value for name, value in os.environ.items() if not name.startswith("STENTOR")}
    with subprocess.Popen([BINARY, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          cwd=tmp_path, env={**bare, "STATE_DIRECTORY": str(data)}) as process:
        assert process.stdout.readline().startswith(b"http://")
        process.terminate()
        assert process.wait(30) == 0
    assert (data / "events").is_dir() and not (tmp_path / "data").exists()
    verify(data)


async def test_a_second_signal_ends_it_at_once_though_a_sync_hangs(brokers, tmp_path):
    broker = brokers()
    segment = broker.data / "events" / FIRST_SEGMENT
    fault = Fault(tmp_path / "trace", "fdatasync", "delay_enter=60000000:when=2+", [segment])
    broker.prefix = fault.prefix
    broker.start()
    async with http() as session:
        async with session.post(f"{broker.url}/v1/events/a", data=b"1") as answer:
            assert answer.status == 201
        hanging = asyncio.ensure_future(session.post(f"{broker.url}/v1/events/a", data=b"2"))
        await eventually(lambda: fault.trace.read_text().count("fdatasync") >= 2, what="the second sync hangs")
        broker.process.send_signal(signal.SIGTERM)
        await eventually(lambda: deaf(broker), what="the end has begun")
        tracer = int(status_of(broker)["TracerPid"])
        broker.process.send_signal(signal.SIGTERM)
        await eventually(lambda: status_of(broker)["State"].startswith("Z"), within=10, what="it has ended")
        # The delayed thread is the tracer's until that ends; the process cannot be waited for before.
        os.kill(tracer, signal.SIGKILL)
        assert await asyncio.to_thread(broker.process.wait, 10) == 1, "it says that it did not end in order"
        with pytest.raises(aiohttp.ClientError):
            await hanging
    broker.prefix = []
    broker.start()
    broker.stop()
    verify(broker.data)


def status_of(broker):
    """What the system says of its main thread."""
    pid = broker.process.pid
    lines = open(f"/proc/{pid}/task/{pid}/status").read().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def deaf(broker):
    try:
        socket.create_connection(("127.0.0.1", broker.port), timeout=1).close()
    except OSError:
        return True
    return False


def test_the_unit_file_is_one_that_systemd_likes_and_finds_hardened(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here")
    unit = tmp_path / "stentor.service"
    text = (ROOT / "docs" / "deploy" / "stentor.service").read_text()
    assert "/usr/local/bin/stentor" in text
    unit.write_text(text.replace("/usr/local/bin/stentor", os.path.abspath(BINARY)))
    found = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0 and found.stderr == "", found
    # Exposure from 0.0, the best, to 10.0: tenths of a point.
    judged = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=20", str(unit)],
                            capture_output=True, text=True, timeout=60)
    assert judged.returncode == 0, judged.stdout + judged.stderr
