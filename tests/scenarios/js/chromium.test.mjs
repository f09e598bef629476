// PROTOCOL.md section 6 in a real Chromium: an EventSource that is cut and comes back by itself, as browsers do.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { chromium } from "playwright-core";
import { brokers, within } from "./broker.mjs";

const FLAGS = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** A page of the origin `url` with an EventSource on it; what it heard is asked of it. */
async function listen(browser, url, query) {
  const page = await browser.newPage();
  // Any page of that origin will do.
  await page.goto(`${url}/health/live`);
  await page.evaluate((query) => {
    window.heard = { data: [], ids: [], opened: 0, caughtUp: 0, gaps: [], takenOver: 0 };
    window.source = new EventSource(`/v1/sse?${query}`);
    source.onopen = () => heard.opened++;
    source.onmessage = (event) => {
      heard.data.push(JSON.parse(event.data).data);
      heard.ids.push(Number(event.lastEventId));
    };
    source.addEventListener("caught_up", () => heard.caughtUp++);
    source.addEventListener("gap", (event) => heard.gaps.push(JSON.parse(event.data)));
    source.addEventListener("taken_over", () => heard.takenOver++);
  }, new URLSearchParams(query).toString());
  page.heard = () => page.evaluate(() => heard);
  page.until = (what, count) => page.waitForFunction(([what, count]) => (Array.isArray(heard[what]) ? heard[what].length : heard[what]) >= count, [what, count], { timeout: 20_000 });
  return page;
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** nginx in front of the broker, as Debian ships it: buffering on. */
async function nginx(folder, target) {
  const port = await freePort();
  const home = path.join(folder, "nginx");
  await mkdir(home, { recursive: true });
  const config = `daemon off; pid ${home}/pid; error_log ${home}/error.log; events {}
    http { access_log off; client_body_temp_path ${home}/body; proxy_temp_path ${home}/proxy; fastcgi_temp_path ${home}/fastcgi;
      uwsgi_temp_path ${home}/uwsgi; scgi_temp_path ${home}/scgi;
      server { listen 127.0.0.1:${port}; location / { proxy_pass ${target}; proxy_set_header Host $http_host; } } }`;
  await writeFile(path.join(home, "nginx.conf"), config);
  const child = spawn("nginx", ["-e", `${home}/error.log`, "-p", home, "-c", path.join(home, "nginx.conf")], { stdio: "inherit" });
  const url = `http://127.0.0.1:${port}`;
  for (const deadline = Date.now() + 10_000; ; ) {
    if (await fetch(`${url}/health/live`).then((answer) => answer.ok, () => false)) break;
    assert.ok(Date.now() < deadline, "nginx does not serve");
  }
  return { url, end: async () => { child.kill(); await once(child, "exit"); } };
}

describe("an EventSource in Chromium", { timeout: 240_000 }, () => {
  let browser, broker, folder;
  brokers((fresh, place) => ([broker, folder] = [fresh, place]));
  before(async () => (browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS })));
  after(() => browser.close());

  it("hears the replay, caught_up and what is new", async () => {
    await broker.publish("key.activated", 0, 1);
    const page = await listen(browser, broker.url, { channels: "key.*", from: "earliest" });
    await page.until("caughtUp", 1);
    await broker.publish("key.activated", 2);
    await page.until("data", 3);
    const heard = await page.heard();
    assert.deepEqual([heard.data, heard.ids], [[0, 1, 2], [0, 1, 2]]);
    await page.close();
  });

  it("comes back by itself after the broker was killed, without a hole and without a repeat", async () => {
    const page = await listen(browser, broker.url, { channels: "key.*" });
    await page.until("caughtUp", 1);
    await broker.publish("key.activated", 0, 1);
    await page.until("data", 2);
    for (let n = 2; n < 8; n += 2) {
      await broker.end("SIGKILL");
      await broker.start();
      await broker.publish("key.activated", n, n + 1);
      await page.until("data", n + 2);
    }
    const heard = await page.heard();
    assert.deepEqual(heard.data, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert.ok(heard.opened >= 4);
    await page.close();
  });

  it("acknowledges by coming back, and a small window only makes it come back more often", async () => {
    const count = 40;
    await broker.publish("key.activated", ...Array(count).keys());
    const page = await listen(browser, broker.url, { channels: "key.*", subscriber: "ui", from: "earliest", window: 8 });
    await page.until("data", count);
    const heard = await page.heard();
    assert.deepEqual(heard.data, [...Array(count).keys()]);
    assert.ok(heard.opened >= count / 8, `${heard.opened} streams`);
    // The window was full at the last one too: the browser is back, and everything is acknowledged.
    await page.until("caughtUp", 1);
    assert.equal((await broker.subscriber("ui")).lag, 0);
    await page.close();
  });

  it("is told that another tab took over, and stays quiet for a while", async () => {
    const query = { channels: "key.*", subscriber: "ui" };
    const first = await listen(browser, broker.url, query);
    await first.until("caughtUp", 1);
    const second = await listen(browser, broker.url, query);
    await second.until("caughtUp", 1);
    await first.until("takenOver", 1);
    await broker.publish("key.activated", "second");
    await second.until("data", 1);
    assert.deepEqual((await first.heard()).data, []);
    await first.close();
    await second.close();
  });

  it("comes back to a broker that restarts in order", async () => {
    const page = await listen(browser, broker.url, { channels: "key.*" });
    await page.until("caughtUp", 1);
    const [code] = await within(broker.end("SIGTERM"), 30_000);
    assert.equal(code, 0);
    await broker.start();
    await broker.publish("key.activated", "after");
    await page.until("data", 1);
    await page.close();
  });

  it("hears at once through nginx, which buffers by default", async () => {
    const proxy = await nginx(folder, broker.url);
    try {
      const page = await listen(browser, proxy.url, { channels: "key.*" });
      await page.until("caughtUp", 1);
      for (let n = 0; n < 3; n++) {
        await broker.publish("key.activated", n);
        await page.until("data", n + 1);
      }
      assert.deepEqual((await page.heard()).data, [0, 1, 2]);
      await page.close();
    } finally {
      await proxy.end();
    }
  });
});
