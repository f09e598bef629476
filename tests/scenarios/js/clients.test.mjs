// Clients that others wrote for Node: reconnecting-websocket, eventsource and the CloudEvents SDK, against the binary.

import assert from "node:assert/strict";
import { CloudEvent, HTTP } from "cloudevents";
import { EventSource } from "eventsource";
import ReconnectingWebSocket from "reconnecting-websocket";
import { describe, it } from "node:test";
import WebSocket from "ws";
import { brokers, within } from "./broker.mjs";

/** Remembers what came, and lets a test wait until there is enough of it. */
class Heard {
  #waiting = [];
  all = [];

  put(one) {
    this.all.push(one);
    this.#waiting = this.#waiting.filter(({ count, resolve }) => this.all.length < count || resolve());
  }

  async until(count) {
    if (this.all.length < count) await within(new Promise((resolve) => this.#waiting.push({ count, resolve })), 30_000);
  }
}

describe("clients that others wrote", { timeout: 180_000 }, () => {
  let broker;
  brokers((fresh) => (broker = fresh));

  it("reconnecting-websocket comes back after a kill and goes on from its cursor", async () => {
    const events = new Heard();
    const url = `${broker.url.replace("http", "ws")}/v1/ws?channels=key.*&subscriber=rws`;
    const options = { WebSocket, minReconnectionDelay: 50, maxReconnectionDelay: 200 };
    const socket = new ReconnectingWebSocket(url, ["stentor.v1.json"], options);
    const live = new Heard();
    socket.addEventListener("message", ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.op === "caught_up") live.put(frame);
      if (frame.op !== "event") return;
      events.put(frame.data);
      socket.send(JSON.stringify({ op: "ack", offset: frame.offset, confirm: true }));
    });
    await live.until(1);
    for (let n = 0; n < 9; n += 3) {
      await broker.publish("key.activated", n, n + 1, n + 2);
      await events.until(n + 1);
      await broker.end("SIGKILL");
      await broker.start();
      // Killed sooner, a session ends before it was told that it had caught up.
      await live.until(n / 3 + 2);
    }
    socket.close();
    // What was in flight at a kill may come twice; nothing is missing, and first deliveries are in order.
    assert.deepEqual([...new Set(events.all)], [0, 1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it("eventsource comes back with the last id, without a hole and without a repeat", async () => {
    const source = new EventSource(`${broker.url}/v1/sse?channels=key.*`);
    const [events, live] = [new Heard(), new Heard()];
    source.addEventListener("message", ({ data }) => events.put(JSON.parse(data).data));
    source.addEventListener("caught_up", (event) => live.put(event));
    await live.until(1);
    await broker.publish("key.activated", 0, 1);
    await events.until(2);
    await broker.end("SIGKILL");
    await broker.start();
    await broker.publish("key.activated", 2);
    await events.until(3);
    source.close();
    assert.deepEqual(events.all, [0, 1, 2]);
  });

  it("the CloudEvents SDK publishes in every mode, and reads what comes out", async () => {
    const event = (id) => new CloudEvent({ id, type: "sdk.made", source: "/sdk", subject: "k", shop: "one & two", data: { id } });
    for (const [n, message] of [HTTP.binary(event("binary")), HTTP.structured(event("structured"))].entries()) {
      const answer = await fetch(`${broker.url}/v1/events`, { method: "POST", headers: message.headers, body: message.body });
      assert.equal(answer.status, 201, await answer.clone().text());
      assert.equal((await answer.json()).offset, n);
    }
    const batch = [event("batch-0"), event("batch-1")].map((one) => one.toJSON());
    const headers = { "content-type": "application/cloudevents-batch+json" };
    const answer = await fetch(`${broker.url}/v1/events`, { method: "POST", headers, body: JSON.stringify(batch) });
    assert.equal((await answer.json()).count, 2);
    const frames = new Heard();
    const socket = new WebSocket(`${broker.url.replace("http", "ws")}/v1/ws?channels=sdk.*&from=earliest`, ["cloudevents.json"]);
    socket.on("message", (data) => frames.put(data.toString()));
    await frames.until(4);
    socket.close();
    const read = frames.all.map((body) => HTTP.toEvent({ headers: { "content-type": "application/cloudevents+json" }, body }));
    assert.deepEqual(read.map(({ id }) => id), ["binary", "structured", "batch-0", "batch-1"]);
    for (const one of read) {
      assert.deepEqual([one.type, one.source, one.subject, one.shop], ["sdk.made", "/sdk", "k", "one & two"]);
      assert.deepEqual(one.data, { id: one.id });
    }
  });
});
