"""A real Prometheus scrapes the broker, and every expression of the board in docs/grafana.json has data there."""

import asyncio
import contextlib
import json
import math
import shutil
import signal
import socket
import subprocess

import pytest

from endpoint import endpoint
from harness import ROOT, call, eventually, http
from listening import listening

BOARD = json.loads((ROOT / "docs" / "grafana.json").read_text())


def expressions():
    """Each expression as Grafana would send it."""
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", "10s").replace("$instance", ".*")
            assert "$" not in text, f"a variable that nobody fills: {text}"
            yield panel["title"], text


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def prometheus(broker, folder):
    """One that scrapes the broker each second; gives its URL."""
    port = free_port()
    (folder / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s"},
        "scrape_configs": [{"job_name": "stentor", "static_configs": [{"targets": [f"127.0.0.1:{broker.port}"]}]}],
    }))
    with open(folder / "prometheus.log", "wb") as log:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
             f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


async def traffic(session, broker):
    """A little of everything, until it is cancelled."""
    n = 0
    async with listening(session, broker, channels="a", subscriber="w", window="5") as listener:
        while True:
            n += 1
            headers = {"idempotency-key": f"{n}"}
            for _ in range(2):
                await call(session, "POST", f"{broker.url}/v1/events/a", json=n, headers=headers)
            await call(session, "POST", f"{broker.url}/v1/events/a", json="other", headers=headers, expect=409)
            await listener.ack((await listener.event())["offset"], confirm=False)
            await asyncio.sleep(0.05)


@pytest.mark.skipif(not shutil.which("prometheus"), reason="Prometheus is not here; tests/run installs it")
async def test_prometheus_takes_every_scrape_and_every_expression_of_the_board_has_data(broker, tmp_path):
    statuses = iter([500, 503])
    async with http() as session, endpoint(lambda event: next(statuses, 200)) as hook:
        settings = {"url": hook.url, "channels": ["a"], "retry": {"initial": "10ms", "max": "20ms"}}
        await call(session, "PUT", f"{broker.url}/v1/connectors/c", json=settings, expect=201)
        flowing = asyncio.ensure_future(traffic(session, broker))
        with prometheus(broker, tmp_path) as url:

            async def ready():
                with contextlib.suppress(OSError):
                    async with session.get(f"{url}/-/ready") as answer:
                        return answer.status == 200

            async def ask(path, **query):
                status, body = await call(session, "GET", f"{url}/api/v1/{path}", params=query)
                assert status == 200 and body["status"] == "success", f"{query}: {body}"
                return body["data"]

            async def scraped_for_a_while():
                found = await ask("query", query="count_over_time(up[1m]) >= 6 and min_over_time(up[1m]) == 1")
                return found and found["result"]

            try:
                await eventually(ready, within=60, what="Prometheus has started")
                await eventually(scraped_for_a_while, within=60, every=0.2, what="every scrape is taken")
                missing, count = [], 0
                for title, expression in expressions():
                    found = (await ask("query", query=expression))["result"]
                    values = [float(series["value"][1]) for series in found]
                    count += 1
                    if not values or all(math.isnan(value) for value in values):
                        missing.append(f"{title}: {expression}")
                assert not missing, "\n".join(missing)
                assert count >= 30
                families = {row["metric"]["__name__"] for row in
                            (await ask("query", query='{__name__=~"stentor_.*"}'))["result"]}
                assert {"stentor_events_published_total", "stentor_commit_seconds_bucket"} <= families
                assert not flowing.done(), flowing
            finally:
                flowing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await flowing
