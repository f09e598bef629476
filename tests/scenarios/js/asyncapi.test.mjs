// PROTOCOL.md sections 5 and 6: what `/asyncapi.json` says of WebSocket and SSE is AsyncAPI 3, by its own parser's
// word.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Parser } from "@asyncapi/parser";
import { brokers } from "./broker.mjs";

/** What the parser found wrong, as one line each. */
async function errors(text) {
  const { document, diagnostics } = await new Parser().parse(text);
  const wrong = diagnostics.filter(({ severity }) => severity === 0);
  return { document, wrong: wrong.map(({ message, path }) => `${path.join("/")}: ${message}`) };
}

describe("the AsyncAPI document", { timeout: 120_000 }, () => {
  let broker;

  brokers((fresh) => (broker = fresh));

  async function served() {
    const answer = await fetch(`${broker.url}/asyncapi.json`);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get("content-type"), "application/json");
    return await answer.text();
  }

  it("is version 3, of both streams, and its parser finds no error", async () => {
    const text = await served();
    assert.equal(JSON.parse(text).asyncapi, "3.0.0");
    const { document, wrong } = await errors(text);
    assert.deepEqual(wrong, []);
    const channels = document.channels().all();
    assert.deepEqual(channels.map((channel) => channel.id()).sort(), ["cloudevents", "sse", "websocket"]);
    assert.ok(channels.every((channel) => channel.messages().all().length > 0));
  });

  it("would be refused with a reference that leads nowhere", async () => {
    const broken = JSON.parse(await served());
    delete broken.components.schemas.GapFrame;
    assert.notDeepEqual((await errors(JSON.stringify(broken))).wrong, []);
  });
});
