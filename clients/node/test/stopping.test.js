/** What a daemon that stops has not begun is asked of the next one. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Bindings, connect } from "../baskd.js";
import { fakeDaemon, LATER } from "./support/fake.js";

const REFUSAL = { code: -32024, message: "the daemon stops", data: { by: "shutdown", ran: "no" } };
const REFUSED = { name: "Cancelled", data: { by: "shutdown", ran: "no" } };
const PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/**
 * A daemon that refuses `f` and streams so often, each time by the last word of a connection.
 * @param {import("node:test").TestContext} t
 * @param {{ refusals?: number, items?: any[], takes?: boolean, for_good?: boolean, patienceMs?: number }} [options]
 */
async function stopping(t, { refusals = 1, items = [], takes = false, for_good = false, ...options } = {}) {
  const left = { refusals };
  /** @param {any} connection */
  const end = (connection) => {
    if (for_good) setImmediate(() => fake.stop());
    else connection.socket.end();
  };
  /** @type {import("./support/fake.js").Method} */
  const refuse = ({ id, params }, connection) => {
    if (left.refusals === 0) return params ?? "answered";
    left.refusals--;
    connection.send({ id, error: REFUSAL });
    end(connection);
    return LATER;
  };
  const fake = await fakeDaemon(t, {
    f: refuse,
    "rpc.call": refuse,
    slow: () => LATER,
    "stream.call": (request, connection) => {
      if (left.refusals > 0 && !takes) return refuse(request, connection);
      const { id } = request;
      connection.send({ id, result: 7000 + id });
      /** @type {any[]} */
      const results = items.map((item) => ({ item }));
      if (left.refusals > 0) results.push({ error: REFUSAL });
      else results.push({ item: "an item" }, { end: "the end" });
      for (const result of results) connection.event("stream.item", 7000 + id, result);
      if (left.refusals > 0) {
        left.refusals--;
        end(connection);
      }
      return LATER;
    },
  });
  const backend = await connect({ socket: fake.path, ...options });
  t.after(() => backend.close());
  return { fake, backend, left };
}

describe("a call that a daemon that stops has not begun", () => {
  test("is sent to the next one, whatever its caller says", async (t) => {
    const { fake, backend } = await stopping(t);
    const params = { a: [1] };
    const call = backend.call("f", params, { idempotent: false });
    params.a.push(2);
    assert.deepEqual(await call, { a: [1] });
    assert.deepEqual([fake.count("f"), fake.count("rpc.discover")], [2, 0]);
  });

  test("waits until what had begun there is answered", async (t) => {
    const { fake, backend } = await stopping(t, { refusals: 0 });
    fake.methods.f = ({ id }, connection) => {
      fake.methods.f = ({ params }) => params;
      connection.send({ id, error: REFUSAL });
      const slow = fake.received.find(({ method }) => method === "slow").id;
      setImmediate(() => {
        connection.send({ id: slow, result: "slow" });
        connection.socket.end();
      });
      return LATER;
    };
    assert.deepEqual(await Promise.all([backend.slow(), backend.f(1), backend.f(2)]), ["slow", [1], [2]]);
  });

  test("is told so when daemon after daemon stops", async (t) => {
    const { backend, left } = await stopping(t, { refusals: 99 });
    await assert.rejects(backend.f(), REFUSED);
    assert.equal(left.refusals, 99 - 4);
  });

  test("is told so when nobody comes", async (t) => {
    const { backend } = await stopping(t, { for_good: true, patienceMs: 100 });
    await assert.rejects(backend.f(), REFUSED);
  });

  test("and a stream as well", async (t) => {
    const { backend } = await stopping(t, { for_good: true, patienceMs: 100 });
    await assert.rejects(backend.stream.count().next(), REFUSED);
  });

  test("is sent to one that is a little late", async (t) => {
    const { fake, backend } = await stopping(t, { for_good: true });
    const call = backend.f(1);
    await fake.told("f");
    await new Promise((resolve) => setTimeout(resolve, 20));
    await fake.restart();
    assert.deepEqual(await call, [1]);
  });

  test("has no more time for that", async (t) => {
    const { fake, backend } = await stopping(t);
    fake.methods["rpc.call"] = ({ id }, connection) => {
      connection.send({ id, error: REFUSAL });
      return LATER;
    };
    await assert.rejects(backend.call("f", [], { timeoutMs: 50 }), { name: "TimedOut" });
    assert.equal(fake.count("rpc.call"), 1);
  });

  test("can be given up meanwhile", async (t) => {
    const { fake, backend } = await stopping(t);
    const abort = new AbortController();
    fake.methods.f = ({ id }, connection) => {
      connection.send({ id, error: REFUSAL });
      setImmediate(() => abort.abort());
      return LATER;
    };
    await assert.rejects(backend.call("f", [], { signal: abort.signal }), { name: "AbortError" });
    fake.drop();
    await backend.echo();
    assert.equal(fake.count("f"), 1);
  });

  test("is told so where the client leaves", async (t) => {
    const { fake, backend } = await stopping(t);
    const call = assert.rejects(backend.f(), REFUSED);
    await fake.told("f");
    await backend.close();
    await call;
    assert.equal(fake.count("f"), 1);
  });

  test("is not said to have never begun if it may have run before", async (t) => {
    const { fake, backend, left } = await stopping(t, { refusals: 99 });
    const twice = fake.methods.f;
    fake.methods.f = (_, connection) => {
      fake.methods.f = twice;
      connection.socket.destroy();
      return LATER;
    };
    await assert.rejects(backend.call("f", [], { idempotent: true }), { name: "Disconnected" });
    assert.equal(left.refusals, 99 - 4);
  });

  test("and one that had begun is not made again", async (t) => {
    const { fake, backend } = await stopping(t);
    for (const data of [{ by: "shutdown", ran: "yes" }, { by: "shutdown" }, { by: "client" }]) {
      fake.methods.g = () => {
        throw { ...REFUSAL, data };
      };
      await assert.rejects(backend.g(), { name: "Cancelled", data });
    }
    assert.equal(fake.count("g"), 3);
  });
});

test("a call waits for the next daemon where one stops while its properties are restored", async (t) => {
  const there = new Map();
  let stops = false;
  const fake = await fakeDaemon(t, {
    setProperty({ id, params: { name, value } }, connection) {
      if (!stops) {
        there.set(name, value);
        return value;
      }
      stops = false;
      connection.send({ id, error: REFUSAL });
      connection.socket.end();
      return LATER;
    },
    "daemon.status": () => ({ properties: [...there.keys()] }),
  });
  const chat = new Bindings({ model: "a" }, { socket: fake.path });
  t.after(() => chat.end().catch(() => {}));
  await chat.setProperty("apiKey", "k2");
  there.delete("apiKey");
  stops = true;
  fake.drop();
  assert.deepEqual(await chat.echo(1), [1]);
  assert.equal(there.get("apiKey"), "k2");
});

describe("a stream that a daemon that stops has not begun", () => {
  for (const takes of [false, true]) {
    test(`is opened again, ${takes ? "also when" : "before"} it was acknowledged`, async (t) => {
      const { backend } = await stopping(t, { takes });
      const stream = backend.stream.count({ to: 1 });
      const items = [];
      for await (const item of stream) items.push(item);
      assert.deepEqual([items, await stream.result], [["an item"], "the end"]);
    });
  }

  test("is not if items had come", async (t) => {
    const { backend } = await stopping(t, { takes: true, items: ["first"] });
    const stream = backend.stream.count();
    assert.deepEqual(await stream.next(), { done: false, value: "first" });
    await assert.rejects(stream.next(), REFUSED);
  });

  test("has no more time for that", async (t) => {
    const { fake, backend } = await stopping(t);
    fake.methods["stream.call"] = ({ id }, connection) => {
      connection.send({ id, result: 7 });
      connection.event("stream.item", 7, { error: REFUSAL });
      return LATER;
    };
    await assert.rejects(backend.stream.count({}, { timeoutMs: 50 }).next(), { name: "TimedOut" });
  });

  test("is told so when daemon after daemon stops", async (t) => {
    const { backend } = await stopping(t, { takes: true, refusals: 99 });
    await assert.rejects(backend.stream.count().next(), REFUSED);
  });
});

test("a trace goes with a call and with a stream", async (t) => {
  const { fake, backend } = await stopping(t, { refusals: 0 });
  const trace = { traceparent: PARENT, tracestate: "a=1" };
  assert.deepEqual(await backend.call("f", [1], trace), { method: "f", params: [1], ...trace });
  for await (const _ of backend.stream.count({}, { traceparent: PARENT }));
  const { params } = await fake.told("stream.call");
  assert.deepEqual([params.traceparent, params.tracestate], [PARENT, undefined]);
});
