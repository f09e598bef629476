"""The real binary, started and stopped, and what the scenarios ask it.

STENTOR names the binary. Every broker listens on a port of its own on loopback and keeps its data in a
folder of its own. Nothing waits for time to pass: `eventually` asks again until the answer is there.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.parse

import aiohttp

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("STENTOR", str(ROOT / "target" / "release" / "stentor"))


class Broker:
    """One broker process and its data directory; survives being killed.

    `prefix` is a command that becomes the broker, as in `nsenter … stentor serve …`: the process stays the same.
    """

    def __init__(self, data, *arguments, environment=None, prefix=()):
        self.data = pathlib.Path(data)
        self.arguments = list(arguments)
        self.prefix = list(prefix)
        self.environment = {**os.environ, "STENTOR_LOG": "warn", **(environment or {})}
        self.process = None
        self.port = 0
        self.url = None
        self.log = open(self.data.parent / f"{self.data.name}.log", "ab")

    def start(self):
        """Starts it, and returns when it has said where it serves. After a restart the port is the same."""
        command = [*self.prefix, BINARY, "serve", "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}",
                   *self.arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, env=self.environment)
        line = self.process.stdout.readline().decode().strip()
        if not line.startswith("http://"):
            code = self.process.wait(10)
            self.log.flush()
            tail = pathlib.Path(self.log.name).read_bytes()[-2000:].decode(errors="replace")
            raise AssertionError(f"the broker did not start (exit {code}): {line!r}\n{tail}")
        self.url = line
        self.port = urllib.parse.urlsplit(line).port
        return self

    @property
    def ws(self):
        return self.url.replace("http://", "ws://") + "/v1/ws"

    def kill(self):
        """SIGKILL: nothing is flushed, nobody is told."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """SIGTERM: must end by itself with status 0."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        assert code == 0, f"the broker ended with status {code}"

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        if self.process:
            self.process.stdout.close()
        self.log.close()


def stentor(*arguments, url=None, check=True, input=None, timeout=120, cwd=None):
    """Runs a command of the CLI; gives the finished process."""
    environment = {**os.environ}
    if url:
        environment["STENTOR_URL"] = url
    done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, env=environment,
                          input=input, timeout=timeout, cwd=cwd)
    if check and done.returncode != 0:
        raise AssertionError(f"{arguments} ended with {done.returncode}: {done.stderr}{done.stdout}")
    return done


def verify(data):
    """Checks a stopped broker's data directory; gives the report."""
    done = stentor("verify", data, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


async def eventually(ask, *, within=30, every=0.02, what=""):
    """Asks until the answer is true; fails after `within` seconds with the last answer."""
    deadline = time.monotonic() + within
    while True:
        answer = ask()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come true within {within} s: {what} (last answer: {answer!r})")
        await asyncio.sleep(every)


async def never(ask, *, within, every=0.02, what=""):
    """Asks for so long; fails as soon as the answer is true. Only for what must not happen and has no signal."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        answer = ask()
        if asyncio.iscoroutine(answer):
            answer = await answer
        assert not answer, what
        await asyncio.sleep(every)


async def call(session, method, url, *, expect=None, **arguments):
    """One request; gives the status and the JSON that came back."""
    async with session.request(method, url, **arguments) as answer:
        text = await answer.text()
        body = json.loads(text) if text else None
        if expect is not None:
            assert answer.status == expect, f"{method} {url}: {answer.status} {text}"
        return answer.status, body


async def refused(session, method, url, status, code, **arguments):
    """One request that must be refused with this problem; gives the problem."""
    async with session.request(method, url, **arguments) as answer:
        text = await answer.text()
        assert answer.status == status, f"{method} {url}: {answer.status} {text}"
        assert answer.headers["content-type"] == "application/problem+json", f"{answer.headers} {text}"
        problem = json.loads(text)
        assert (problem["type"], problem["status"]) == (f"/problems/{code}", status), problem
        assert problem["title"] and problem["detail"], problem
        if status in (503, 507):
            assert int(answer.headers["retry-after"]) >= 1, f"when to try again is not said: {answer.headers}"
        return problem


async def exported(session, broker):
    """Every event that the broker has, in order, from an export that says it is whole."""
    async with session.get(f"{broker.url}/v1/export") as answer:
        assert answer.status == 200, await answer.text()
        *events, last = [json.loads(line) for line in (await answer.text()).splitlines()]
    assert "checkpoint" in last and last["events"] == len(events), f"the export is not whole: {last}"
    return events


@contextlib.asynccontextmanager
async def http():
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


def report(line):
    """A measured figure, for whoever reads the run."""
    print(line, file=sys.stderr, flush=True)
