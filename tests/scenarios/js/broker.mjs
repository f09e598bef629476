// The real binary, named by STENTOR: started here, on a port of its own, with a folder of its own.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, before, beforeEach } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
const BINARY = process.env.STENTOR ?? path.join(ROOT, "target/release/stentor");

/** One broker; after a kill it can be started again on the same port and folder. */
export class Broker {
  port = 0;

  constructor(data) {
    this.data = data;
  }

  async start() {
    const listen = `127.0.0.1:${this.port}`;
    this.process = spawn(BINARY, ["serve", "--data", this.data, "--listen", listen], {
      env: { ...process.env, STENTOR_LOG: "warn" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.ended = once(this.process, "exit");
    const lines = createInterface({ input: this.process.stdout });
    const [line] = await Promise.race([
      once(lines, "line"),
      this.ended.then(([code]) => assert.fail(`the broker ended with ${code}`)),
    ]);
    this.url = line.trim();
    this.port = new URL(this.url).port;
    return this;
  }

  async end(signal) {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill(signal);
    return await this.ended;
  }

  async publish(channel, ...payloads) {
    const body = payloads.map((data) => JSON.stringify({ channel, data }) + "\n").join("");
    const answer = await fetch(`${this.url}/v1/events`, {
      method: "POST",
      headers: { "content-type": "application/x-ndjson" },
      body,
    });
    assert.equal(answer.status, 201, await answer.clone().text());
    return await answer.json();
  }

  async subscriber(name) {
    return await (await fetch(`${this.url}/v1/subscribers/${name}`)).json();
  }
}

/** A fresh broker before each test, handed to `take`; its folder goes with the last one. */
export function brokers(take) {
  let folder;
  let broker;
  let count = 0;
  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "stentor-js-"));
  });
  beforeEach(async () => {
    if (broker) await broker.end("SIGKILL");
    broker = await new Broker(path.join(folder, `data-${count++}`)).start();
    await take(broker, folder);
  });
  after(async () => {
    if (broker) await broker.end("SIGKILL");
    await rm(folder, { recursive: true, force: true });
  });
}

/** The promise's value, soon. */
export async function within(promise, milliseconds = 10_000) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error("it did not come in time")), milliseconds)));
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
