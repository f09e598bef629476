// PROTOCOL.md section 5 as a page in a browser lives it: text frames, close codes, coming back.

import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, it } from "node:test";
import WebSocket from "ws";
import { brokers, within } from "./broker.mjs";

const SUBPROTOCOL = "stentor.v1.json";

/** One connection of a page: what came, in order, and how it was closed. */
class Page {
  #came = [];
  #waiting = [];

  static async open(url, protocols) {
    const page = new Page();
    page.socket = new WebSocket(url, protocols, { perMessageDeflate: false });
    page.socket.on("message", (data, binary) => {
      assert.equal(binary, false, "only text frames are sent");
      const next = page.#waiting.shift();
      next ? next.resolve(data.toString()) : page.#came.push(data.toString());
    });
    page.closed = new Promise((resolve) => page.socket.on("close", (code, reason) => resolve({ code, reason: reason.toString() })));
    page.closed.then(({ code }) => page.#waiting.splice(0).forEach((one) => one.reject(new Error(`closed with ${code}`))));
    page.socket.on("error", () => {});
    await within(Promise.race([once(page.socket, "open"), page.closed.then(({ code }) => assert.fail(`closed with ${code}`))]));
    return page;
  }

  say(frame) {
    this.socket.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  }

  text() {
    if (this.#came.length) return Promise.resolve(this.#came.shift());
    return within(new Promise((resolve, reject) => this.#waiting.push({ resolve, reject })));
  }

  async frame(op) {
    const frame = JSON.parse(await this.text());
    if (op) assert.equal(frame.op, op, `${op} was due, and this came: ${JSON.stringify(frame)}`);
    return frame;
  }

  async offsets(count) {
    const offsets = [];
    while (offsets.length < count) offsets.push((await this.frame("event")).offset);
    return offsets;
  }

  async alive() {
    this.say({ op: "ping" });
    assert.deepEqual(await this.frame(), { op: "pong" });
  }

  async closeCode() {
    return (await within(this.closed)).code;
  }

  async leave() {
    this.socket.close(1000);
    await within(this.closed);
  }

  /** The network goes away without a word. */
  cut() {
    this.socket.terminate();
  }
}


describe("a page in a browser", { timeout: 120_000 }, () => {
  let broker;

  brokers((fresh) => (broker = fresh));

  function connect(query = {}, protocols = [SUBPROTOCOL]) {
    return Page.open(`${broker.url.replace("http", "ws")}/v1/ws?${new URLSearchParams(query)}`, protocols);
  }

  it("gets its subprotocol echoed, alone, and the same service without one", async () => {
    const page = await connect({}, ["other.v9", SUBPROTOCOL]);
    assert.equal(page.socket.protocol, SUBPROTOCOL);
    await page.leave();
    const plain = await connect({ channels: "key.*" }, []);
    assert.equal(plain.socket.protocol, "");
    await plain.frame("subscribed");
    await plain.frame("caught_up");
    await plain.leave();
  });

  it("subscribes by query: subscribed, the replay, caught_up, then what is new", async () => {
    await broker.publish("key.activated", 0, 1);
    await broker.publish("policy.approved", 2);
    const page = await connect({ channels: "key.*", from: "earliest" });
    assert.deepEqual(await page.frame(), { op: "subscribed", channels: ["key.*"], cursor: 0, end: 3 });
    assert.deepEqual(await page.offsets(2), [0, 1]);
    assert.deepEqual(await page.frame(), { op: "caught_up", end: 3 });
    await broker.publish("key.activated", { live: true });
    const event = await page.frame("event");
    assert.deepEqual([event.offset, event.channel, event.data], [3, "key.activated", { live: true }]);
    assert.ok(!("attempt" in event));
    await page.leave();
  });

  it("hears caught_up at once where there is nothing to replay", async () => {
    await broker.publish("key.activated", 0);
    const page = await connect({ channels: "key.*" });
    await page.frame("subscribed");
    assert.deepEqual(await page.frame(), { op: "caught_up", end: 1 });
    await page.leave();
  });

  it("publishes on the same connection and hears what it published", async () => {
    const page = await connect({ channels: "chat.**" });
    await page.frame("subscribed");
    await page.frame("caught_up");
    page.say({ op: "publish", ref: "7", channel: "chat.room", data: { text: "hi" }, id: "m-1" });
    const frames = [await page.frame(), await page.frame()];
    const published = frames.find((frame) => frame.op === "published");
    assert.deepEqual(published, { op: "published", ref: "7", offset: 0, id: "m-1" });
    assert.equal(frames.find((frame) => frame.op === "event").data.text, "hi");
    page.say({ op: "publish", ref: "8", channel: "chat.room", data: { text: "hi" }, id: "m-1" });
    assert.deepEqual(await page.frame(), { op: "published", ref: "8", offset: 0, id: "m-1", duplicate: true });
    await page.leave();
  });

  it("has an ack confirmed once it is durable, even if the broker is killed then", async () => {
    await broker.publish("key.activated", 0, 1, 2);
    const query = { channels: "key.*", subscriber: "ui", from: "earliest" };
    const page = await connect(query);
    await page.frame("subscribed");
    await page.offsets(3);
    await page.frame("caught_up");
    page.say({ op: "ack", offset: 1, confirm: true });
    assert.deepEqual(await page.frame(), { op: "acked", cursor: 2 });
    await broker.end("SIGKILL");
    assert.equal(await page.closeCode(), 1006);
    await broker.start();
    assert.equal((await broker.subscriber("ui")).cursor, 2);
    const again = await connect(query);
    assert.equal((await again.frame("subscribed")).cursor, 2);
    assert.deepEqual(await again.offsets(1), [2]);
    assert.deepEqual(await again.frame(), { op: "caught_up", end: 3 });
    await again.leave();
  });

  it("is closed with 4509 when another tab takes its subscriber over, and what it missed goes there", async () => {
    await broker.publish("key.activated", 0, 1);
    const query = { channels: "key.*", subscriber: "ui", from: "earliest" };
    const first = await connect(query);
    await first.frame("subscribed");
    await first.offsets(2);
    const second = await connect(query);
    assert.equal((await second.frame("subscribed")).cursor, 0);
    assert.equal(await first.closeCode(), 4509);
    const again = [await second.frame("event"), await second.frame("event")];
    assert.deepEqual(again.map(({ offset, attempt }) => [offset, attempt]), [[0, 2], [1, 2]]);
    await second.frame("caught_up");
    second.say({ op: "ack", offset: 1, confirm: true });
    assert.deepEqual(await second.frame(), { op: "acked", cursor: 2 });
    await second.leave();
  });

  it("is told of a malformed frame and stays connected", async () => {
    const page = await connect();
    const malformed = ["", "{", "nonsense", "null", "[]", '"ping"', "{}", '{"op":5}', '{"op":"nonsense"}', '{"op":"ack"}',
      '{"op":"subscribe","channels":["a..b"]}', '{"op":"subscribe","channels":["a"],"nonsense":1}', '{"op":"ack","offset":0}',
      '{"op":"publish","ref":"r","channel":"not a channel","data":1}', '{"op":"publish","ref":"r","channel":"a"}'];
    for (const text of malformed) {
      page.say(text);
      const error = await page.frame("error");
      assert.ok(error.code && error.detail, JSON.stringify(error));
      if (text.includes('"ref"')) assert.equal(error.ref, "r");
      await page.alive();
    }
    await page.leave();
  });

  it("is closed with 1003 for a binary frame", async () => {
    const page = await connect();
    page.socket.send(Buffer.from('{"op":"ping"}'), { binary: true });
    assert.equal(await page.closeCode(), 1003);
  });

  it("reads what is wrong with its parameters after the upgrade, then close 4500", async () => {
    for (const query of [{ nonsense: "1" }, { channels: "a..b" }, { channels: "**", from: "99" }, { subscriber: "new" }]) {
      const page = await connect(query);
      const error = await page.frame("error");
      assert.ok(error.code && error.detail, JSON.stringify(error));
      assert.equal(await page.closeCode(), 4500, JSON.stringify(query));
    }
  });

  it("comes back after the network was cut and replays from its cursor, without a hole", async () => {
    const query = { channels: "key.*", subscriber: "ui", from: "earliest" };
    const seen = new Set();
    let published = 0;
    for (let round = 0; round < 5; round++) {
      const page = await connect(query);
      const { cursor, end } = await page.frame("subscribed");
      assert.ok(cursor <= end);
      await broker.publish("key.activated", ...Array.from({ length: 20 }, (_, n) => published + n));
      published += 20;
      let expected = cursor;
      while (expected < published - round) {
        const frame = await page.frame();
        if (frame.op === "caught_up") continue;
        assert.deepEqual([frame.op, frame.offset, frame.data], ["event", expected, expected]);
        seen.add(frame.offset);
        expected++;
      }
      page.say({ op: "ack", offset: expected - 3, confirm: true });
      let answer;
      do answer = await page.frame(); while (answer.op === "event" || answer.op === "caught_up");
      assert.deepEqual(answer, { op: "acked", cursor: expected - 2 });
      page.cut();
    }
    const page = await connect(query);
    const { cursor } = await page.frame("subscribed");
    for (let offset = cursor; offset < published; offset++) {
      assert.deepEqual(await page.offsets(1), [offset]);
      seen.add(offset);
    }
    assert.deepEqual(await page.frame(), { op: "caught_up", end: published });
    assert.deepEqual([...seen].sort((a, b) => a - b), Array.from({ length: published }, (_, n) => n));
    await page.leave();
  });

  it("resumes an anonymous replay behind the last offset that it saw", async () => {
    await broker.publish("key.activated", 0, 1, 2, 3);
    const page = await connect({ channels: "key.*", from: "0" });
    await page.frame("subscribed");
    const last = (await page.offsets(2)).at(-1);
    page.cut();
    const again = await connect({ channels: "key.*", from: String(last + 1) });
    assert.equal((await again.frame("subscribed")).cursor, 2);
    assert.deepEqual(await again.offsets(2), [2, 3]);
    assert.deepEqual(await again.frame(), { op: "caught_up", end: 4 });
    await again.leave();
  });

  it("is closed with 4410 by a seek and finds itself at the new place", async () => {
    await broker.publish("key.activated", 0, 1);
    const query = { channels: "key.*", subscriber: "ui" };
    const page = await connect(query);
    await page.frame("subscribed");
    await page.frame("caught_up");
    const body = JSON.stringify({ to: "earliest" });
    const sought = await fetch(`${broker.url}/v1/subscribers/ui/seek`, { method: "POST", headers: { "content-type": "application/json" }, body });
    assert.deepEqual(await sought.json(), { cursor: 0 });
    assert.equal(await page.closeCode(), 4410);
    const again = await connect(query);
    assert.equal((await again.frame("subscribed")).cursor, 0);
    assert.deepEqual(await again.offsets(2), [0, 1]);
    await again.leave();
  });

  it("is closed with 1012 when the broker restarts", async () => {
    const page = await connect({ channels: "**" });
    await page.frame("subscribed");
    await page.frame("caught_up");
    const [, [code]] = await Promise.all([page.closeCode().then((code) => assert.equal(code, 1012)), within(broker.end("SIGTERM"), 30_000)]);
    assert.equal(code, 0);
  });
});
