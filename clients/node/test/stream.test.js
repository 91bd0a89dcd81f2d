import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../baskd.js";
import { fakeDaemon, LATER } from "./support/fake.js";

/**
 * A daemon whose streams have the window's flow control: `total` items, the numbers from 0, and then `end`.
 * @param {import("node:test").TestContext} t
 * @param {{ total: number, end?: object }} plan
 */
async function streaming(t, { total, end = { end: "the end" } }) {
  let sent = 0;
  let most = 0;
  let allowed = 0;
  /** @param {import("./support/fake.js").FakeDaemon["connections"] extends Set<infer C> ? C : never} connection */
  const pump = (connection) => {
    while (sent < total && allowed > 0) {
      connection.event("stream.item", 9, { item: sent++ });
      allowed--;
    }
    if (sent !== total) return;
    sent++;
    connection.event("stream.item", 9, end);
    connection.send({ method: "stream.item", params: { subscription: 9, error: { code: 0, message: "closed" } } });
  };
  const fake = await fakeDaemon(t, {
    "stream.call"({ id, params }, connection) {
      connection.send({ id, result: 9 });
      allowed = params.window ?? Infinity;
      most = allowed;
      pump(connection);
      return LATER;
    },
    "stream.more"({ params: [, n] }, connection) {
      allowed += n;
      most = Math.max(most, allowed);
      pump(connection);
    },
  });
  const backend = await connect({ socket: fake.path });
  return { fake, backend, sent: () => sent, most: () => most };
}

test("gives every item, and the return value", async (t) => {
  const { fake, backend } = await streaming(t, { total: 5 });
  const stream = backend.stream.count({ to: 5 });
  const items = [];
  for await (const item of stream) items.push(item);
  assert.deepEqual(items, [0, 1, 2, 3, 4]);
  assert.equal(await stream.result, "the end");
  assert.deepEqual((await fake.told("stream.call")).params, { method: "count", params: { to: 5 }, window: 512 });
  assert.deepEqual(await stream.next(), { done: true, value: undefined });
});

test("next() gives the return value when it is done, to one of several that wait", async (t) => {
  const { backend } = await streaming(t, { total: 1 });
  const stream = backend.stream.count();
  const results = await Promise.all([stream.next(), stream.next(), stream.next()]);
  assert.deepEqual(results, [
    { done: false, value: 0 },
    { done: true, value: "the end" },
    { done: true, value: undefined },
  ]);
});

test("never has more than a window under way", async (t) => {
  const { fake, backend, sent, most } = await streaming(t, { total: 1000 });
  const stream = backend.stream.count({}, { window: 10 });
  await stream.next();
  let read = 1;
  for await (const item of stream) {
    assert.equal(item, read++);
    assert.ok(sent() <= read + 10, `${sent()} sent, ${read} read`);
  }
  assert.equal(read, 1000);
  assert.ok(most() <= 10);
  assert.ok(fake.count("stream.more") <= 200, "half a window at a time");
});

test("an endless window has no flow control", async (t) => {
  const { fake, backend } = await streaming(t, { total: 2000 });
  let read = 0;
  for await (const _ of backend.stream.count({}, { window: Infinity })) read++;
  assert.equal(read, 2000);
  assert.equal(fake.count("stream.more"), 0);
  assert.equal("window" in fake.received[0].params, false);
  assert.throws(() => backend.stream.count({}, { window: 0 }), TypeError);
});

test("leaving the loop cancels the call", async (t) => {
  const { fake, backend } = await streaming(t, { total: 1000 });
  const stream = backend.stream.count({}, { window: 4 });
  for await (const item of stream) if (item === 1) break;
  assert.deepEqual((await fake.told("stream.cancel")).params, [9]);
  await assert.rejects(stream.result, { name: "AbortError" });
  assert.deepEqual(await backend.echo(), null);
});

test("an abort ends a loop that waits", async (t) => {
  const { fake, backend } = await streaming(t, { total: 1000 });
  const controller = new AbortController();
  const stream = backend.stream.count({}, { window: 2, signal: controller.signal });
  await stream.next();
  const why = new Error("enough");
  await assert.rejects(
    async () => {
      for await (const _ of stream) controller.abort(why);
    },
    { name: "AbortError", cause: why },
  );
  assert.deepEqual((await fake.told("stream.cancel")).params, [9]);
  await assert.rejects(backend.stream.count({}, { signal: controller.signal }).next(), { name: "AbortError" });
});

test("an abort before the acknowledgement cancels when that comes", async (t) => {
  /** @type {() => void} */
  let acknowledge = () => {};
  const fake = await fakeDaemon(t, {
    "stream.call"({ id }, connection) {
      acknowledge = () => connection.send({ id, result: 9 });
      return LATER;
    },
  });
  const backend = await connect({ socket: fake.path });
  const stream = backend.stream.count();
  await fake.told("stream.call");
  await stream.return();
  acknowledge();
  assert.deepEqual((await fake.told("stream.cancel")).params, [9]);
});

test("an error comes after the items, with the caller's line", async (t) => {
  const end = { error: { code: -32021, message: "Python died", data: { ran: "yes" } } };
  const { backend } = await streaming(t, { total: 2, end });
  /** @type {number[]} */
  const items = [];
  const error = await (async () => {
    for await (const item of backend.stream.count()) items.push(item);
  })().catch((/** @type {unknown} */ error) => error);
  assert.deepEqual(items, [0, 1]);
  assert.ok(error instanceof Error);
  assert.equal(error.name, "BackendCrashed");
  assert.match(error.stack ?? "", /stream\.test\.js/);
});

test("a method that isn't there is an error of the loop", async (t) => {
  const fake = await fakeDaemon(t);
  const backend = await connect({ socket: fake.path });
  await assert.rejects(backend.stream.nope().next(), { name: "MethodNotFound" });
});

test("a lost connection ends it, what had arrived first", async (t) => {
  const { fake, backend } = await streaming(t, { total: 1000 });
  const stream = backend.stream.count({}, { window: 2 });
  await stream.next();
  await fake.stop();
  await assert.rejects(stream.result, { name: "Disconnected" });
  assert.deepEqual(await stream.next(), { done: false, value: 1 });
  await assert.rejects(stream.next(), { name: "Disconnected" });
  assert.deepEqual(await stream.next(), { done: true, value: undefined });
});

test("close() ends it", async (t) => {
  const { backend } = await streaming(t, { total: 1000 });
  const stream = backend.stream.count({}, { window: 1 });
  await stream.next();
  const next = stream.next();
  await next;
  const waiting = assert.rejects(stream.result, { name: "Closed" });
  await backend.close();
  await waiting;
});
