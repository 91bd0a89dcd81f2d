/** A slow reader of one stream, against a real daemon: it holds up nothing else of its connection, and costs no memory. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { DEFAULT_WINDOW } from "../lib/stream.js";
import { needsDaemon } from "./support/home.js";
import { served } from "./support/served.js";

const ITEMS = 1_000_000;
const SIZE = 200;
const patient = { ...needsDaemon, timeout: 240_000 };

/** Two hundred times less than all items together take here. */
const MUCH = 32 << 20;

/**
 * 1,000 calls beside a stream that nobody reads, some one by one and some at once.
 * @param {any} backend
 */
async function manyCalls(backend) {
  for (let n = 0; n < 500; n++) assert.equal(await backend.add(n), n + 1);
  const sums = await Promise.all(Array.from({ length: 500 }, (_, n) => backend.add(n)));
  assert.deepEqual(
    sums,
    sums.map((_, n) => n + 1),
  );
}

/**
 * @param {any} backend
 * @param {object} [options]
 */
async function parked(backend, options) {
  const stream = backend.stream.rows({ count: ITEMS, size: SIZE }, options);
  assert.deepEqual(await stream.next(), { done: false, value: [0, "x".repeat(SIZE)] });
  return stream;
}

describe("a stream that is not read on", patient, () => {
  test("pauses its generator, lets all else through, and then gives every item", async (t) => {
    const { backend } = await served(t);
    const before = process.memoryUsage().rss;
    const stream = await parked(backend);
    await manyCalls(backend);
    let other = 0;
    for await (const n of backend.stream.count({ to: 20_000 })) assert.equal(n, other++);
    assert.equal(other, 20_000);
    // One was read, a window is here, and one waits at its yield.
    const yielded = await backend.yielded();
    assert.ok(yielded <= DEFAULT_WINDOW + 2, `${yielded} were asked for`);
    assert.ok(process.memoryUsage().rss - before < MUCH);

    let expected = 1;
    for await (const [n, text] of stream) {
      if (n !== expected || text.length !== SIZE) assert.fail(`${n} came in place of ${expected}`);
      expected++;
    }
    assert.equal(expected, ITEMS);
    assert.equal(await stream.result, "all");
  });

  test("is cancelled where it waits", async (t) => {
    const { backend } = await served(t);
    for (const cancel of [
      (/** @type {any} */ stream) => stream.return(),
      (/** @type {any} */ _, /** @type {AbortController} */ controller) => controller.abort(),
    ]) {
      const controller = new AbortController();
      const stream = await parked(backend, { signal: controller.signal });
      await manyCalls(backend);
      cancel(stream, controller);
      await assert.rejects(stream.result, { name: "AbortError" });
      while (!(await backend.seen()).includes("rows ended"));
      await backend.forget();
    }
  });

  test("waits for many at once, each with a window of its own", async (t) => {
    const { backend } = await served(t);
    const streams = await Promise.all(Array.from({ length: 20 }, () => parked(backend, { window: 4 })));
    await manyCalls(backend);
    for (const stream of streams) {
      for (let n = 1; n < 20; n++) assert.equal((await stream.next()).value[0], n);
      await stream.return();
    }
  });
});
