import assert from "node:assert/strict";
import { test } from "node:test";

import { eventsOf, parseEvent } from "../../page/live.js";

const TEXT =
  ': hello\n\nevent: hello\ndata: {"last_id": 7}\n\n:\n\nevent: entry\nid: 8\ndata: {"model": "żółw/1",\ndata: "charge": "0.1"}\n\n';

const EVENTS = [
  { type: "hello", id: null, data: { last_id: 7 } },
  { type: "entry", id: "8", data: { model: "żółw/1", charge: "0.1" } },
];

async function collect(pieces) {
  const events = [];
  for await (const event of eventsOf(ReadableStream.from(pieces))) events.push(event);
  return events;
}

test("a stream is read however it is cut", async () => {
  const bytes = new TextEncoder().encode(TEXT);
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    assert.deepEqual(await collect([bytes.slice(0, cut), bytes.slice(cut)]), EVENTS, `cut at ${cut}`);
  }
});

test("lines may end with a carriage return", async () => {
  assert.deepEqual(await collect([new TextEncoder().encode(TEXT.replaceAll("\n", "\r\n"))]), EVENTS);
});

test("an event that never ends is given up", async () => {
  const endless = Array.from({ length: 20 }, () => new TextEncoder().encode("data: ".padEnd(100_000, "x")));
  await assert.rejects(collect(endless), /does not end/);
});

test("a comment is no event", () => {
  assert.equal(parseEvent(": still here"), null);
});
