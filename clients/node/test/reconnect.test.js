/** What becomes of a connection that is lost, with a daemon that does as the test says. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Bindings, connect } from "../baskd.js";
import { fakeDaemon, LATER } from "./support/fake.js";
import { runProgram } from "./support/program.js";

/** @typedef {Record<string, import("./support/fake.js").Method>} Methods */

/** `rpc.discover` of a controller that says of one method that it may run twice. */
const DISCOVER = {
  "rpc.discover": () => ({ methods: [{ name: "twice", "x-idempotent": true }, { name: "once" }] }),
};

/**
 * @param {import("node:test").TestContext} t
 * @param {Methods} [methods]
 * @param {object} [options]
 */
async function connected(t, methods, options) {
  const fake = await fakeDaemon(t, { twice: () => LATER, once: () => LATER, ...DISCOVER, ...methods });
  const backend = await connect({ socket: fake.path, ...options });
  t.after(() => backend.close());
  return { fake, backend };
}

/** From now on the daemon answers what it let lie before. */
function answers(/** @type {import("./support/fake.js").FakeDaemon} */ fake) {
  for (const method of ["twice", "once"]) fake.methods[method] = ({ params }) => params ?? "answered";
}

describe("a call that was under way when the connection was lost", () => {
  test("is sent again, once, if its caller says that it may run twice", async (t) => {
    const { fake, backend } = await connected(t);
    const call = backend.call("once", [7], { idempotent: true });
    await fake.told("once");
    await fake.stop();
    answers(fake);
    await fake.restart();
    assert.deepEqual(await call, [7]);
    assert.deepEqual([fake.count("once"), fake.count("rpc.discover")], [2, 0]);
  });

  test("and not a third time", async (t) => {
    const { fake, backend } = await connected(t);
    const call = backend.call("once", [7], { idempotent: true });
    const lost = assert.rejects(call, { name: "Disconnected", data: { method: "once" } });
    await fake.told("once");
    fake.drop();
    await fake.told("once", 2);
    fake.drop();
    await lost;
    await backend.echo();
    assert.equal(fake.count("once"), 2);
  });

  test("is sent again if its caller says nothing and the controller does, and else is told so", async (t) => {
    const { fake, backend } = await connected(t);
    const twice = [backend.twice(1), backend.call("twice", [2], { timeoutMs: 60_000 })];
    const once = [backend.once(1), backend.call("once", [2], { timeoutMs: 60_000 })].map((call) =>
      assert.rejects(call, { name: "Disconnected", code: "DISCONNECTED", data: { method: "once" } }),
    );
    fake.methods["rpc.call"] = () => LATER;
    await fake.told("once");
    await fake.told("rpc.call", 2);
    fake.methods["rpc.call"] = ({ params }) => params.params;
    answers(fake);
    fake.drop();
    assert.deepEqual(await Promise.all(twice), [[1], [2]]);
    await Promise.all(once);
    assert.deepEqual([fake.count("once"), fake.count("twice"), fake.count("rpc.discover")], [1, 2, 1]);
  });

  test("is told at once if its caller says that it may not", async (t) => {
    const { fake, backend } = await connected(t);
    const call = backend.call("twice", [], { idempotent: false });
    await fake.told("twice");
    await fake.stop();
    await assert.rejects(call, { name: "Disconnected" });
    assert.equal(fake.count("rpc.discover"), 0);
  });

  test("is told when nobody answers at the first try, but for one that waits by its caller's wish", async (t) => {
    const { fake, backend } = await connected(t);
    const unclear = backend.twice();
    const wished = backend.call("twice", [1], { idempotent: true });
    await fake.told("twice", 2);
    await fake.stop();
    await assert.rejects(unclear, { name: "Disconnected" });
    answers(fake);
    await fake.restart();
    assert.deepEqual(await wished, [1]);
    assert.equal(fake.count("rpc.discover"), 0);
  });

  test("is told when the controller says nothing for long, and others don't wait for that", async (t) => {
    const { fake, backend } = await connected(t, { "rpc.discover": () => LATER });
    const since = performance.now();
    const call = assert.rejects(backend.twice(), { name: "Disconnected" });
    await fake.told("twice");
    fake.drop();
    await fake.told("rpc.discover");
    assert.deepEqual(await backend.echo(1), [1]);
    await call;
    const took = performance.now() - since;
    assert.ok(took > 1900 && took < 10_000, `${took} ms`);
  });

  test("is not sent again when some of its messages have been handed on", async (t) => {
    const { fake, backend } = await connected(t, { "messages.subscribe": () => 5 });
    const heard = new Promise((resolve) => backend.onMessage(resolve, { onGap: () => {} }));
    const call = assert.rejects(backend.call("twice", [], { idempotent: true }), { name: "Disconnected" });
    const { id } = await fake.told("twice");
    for (const connection of fake.connections) {
      connection.event("messages.item", 5, { call: 1, request: id, method: "twice", data: "some" });
    }
    assert.equal(await heard, "some");
    fake.drop();
    await call;
  });

  test("can be given up while it waits to be sent again", async (t) => {
    const { fake, backend } = await connected(t, { "rpc.discover": () => LATER });
    const controller = new AbortController();
    const call = backend.call("twice", [], { signal: controller.signal });
    await fake.told("twice");
    fake.drop();
    await fake.told("rpc.discover");
    controller.abort();
    await assert.rejects(call, { name: "AbortError" });
    await backend.close();
    assert.equal(fake.count("twice"), 1);
  });

  test("is told if it is a stream's, whatever its method", async (t) => {
    const { fake, backend } = await connected(t, { "stream.call": () => LATER });
    const stream = backend.stream.twice();
    await fake.told("stream.call");
    fake.drop();
    await assert.rejects(stream.next(), { name: "Disconnected", data: { method: "twice" } });
    await assert.rejects(stream.result, { name: "Disconnected", data: { method: "twice" } });
    assert.equal(fake.count("stream.call"), 1);
  });
});

test("of 64 calls in flight each has one answer, and none is lost", async (t) => {
  const { fake, backend } = await connected(t);
  let settled = 0;
  const calls = Array.from({ length: 64 }, (_, n) => {
    const call = n % 2 ? backend.twice(n) : backend.once(n);
    return call
      .finally(() => settled++)
      .then(
        (/** @type {any} */ [result]) => result === n,
        (/** @type {any} */ error) => error.name === "Disconnected" && n % 2 === 0 && "told",
      );
  });
  await fake.told("twice", 32);
  answers(fake);
  fake.drop();
  const kept = Array.from({ length: 64 }, (_, n) => backend.echo(n));
  const outcomes = await Promise.all(calls);
  assert.deepEqual(
    await Promise.all(kept),
    Array.from({ length: 64 }, (_, n) => [n]),
  );
  assert.deepEqual(
    outcomes,
    Array.from({ length: 64 }, (_, n) => (n % 2 ? true : "told")),
  );
  assert.deepEqual([settled, fake.count("once"), fake.count("twice"), fake.count("echo")], [64, 32, 64, 64]);
});

describe("a daemon on its way out", () => {
  test("that takes a connection and says nothing costs no call", async (t) => {
    const { fake, backend } = await connected(t);
    const call = assert.rejects(backend.once(), { name: "Disconnected" });
    await fake.told("once");
    let corpses = 0;
    fake.methods["daemon.status"] = (_, connection) => {
      if (corpses++ < 2) connection.socket.destroy();
      return {};
    };
    fake.drop();
    assert.deepEqual(await backend.echo("kept"), ["kept"]);
    await call;
    assert.deepEqual([corpses, fake.count("echo"), fake.count("once")], [3, 1, 1]);
  });

  test("is given up at last", async (t) => {
    const { fake, backend } = await connected(t, {}, { patienceMs: 1 });
    const call = assert.rejects(backend.once(), { name: "Disconnected" });
    await fake.told("once");
    fake.methods["daemon.status"] = (_, connection) => {
      connection.socket.destroy();
      return LATER;
    };
    fake.drop();
    await call;
    await assert.rejects(backend.echo(), { name: "NotReached", message: /gave no answer/ });
    assert.equal(fake.count("echo"), 0);
  });

  test("or another one, is told from the one that was meant", async (t) => {
    const controller = fileURLToPath(new URL("fixtures/controller.py", import.meta.url));
    const fake = await fakeDaemon(t, {
      "daemon.status": () => ({ controller: { spec: "other:Controller", class: "Controller", file: null } }),
    });
    process.env.BASKD_START = "";
    const connecting = connect({ socket: fake.path, controller });
    process.env.BASKD_START = "0";
    await assert.rejects(connecting, { name: "WrongController", message: /other:Controller/ });
  });
});

describe("subscriptions", () => {
  test("are set up again, in the background, and tell of the gap and of what was dropped", async (t) => {
    const { fake, backend } = await connected(t, { "messages.subscribe": () => 5, "logs.subscribe": () => 6 });
    /** @type {any[]} */
    const seen = [];
    const note = (/** @type {any} */ event) => {
      seen.push(event);
      if (seen.length === 7) done();
    };
    /** @type {(value?: any) => void} */
    let done = () => {};
    const all = new Promise((resolve) => {
      done = resolve;
    });
    backend.onMessage(note, { scope: "all", onGap: note });
    backend.onLog(note);
    const say = (/** @type {string} */ data) => {
      for (const connection of fake.connections) {
        connection.event("messages.item", 5, { call: 1, method: "m", data });
        connection.event("logs.item", 6, { line: data });
      }
    };
    await backend.echo();
    say("before");
    fake.drop();
    await fake.told("logs.subscribe", 2);
    // Its answer goes out before what is said now.
    setImmediate(() => {
      say("after");
      for (const connection of fake.connections) connection.event("messages.item", 5, { dropped: 3 });
    });
    await all;
    const told = (/** @type {any} */ event) => JSON.stringify(event);
    assert.deepEqual(seen.map(told).sort(), [
      '"after"',
      '"before"',
      '{"dropped":3}',
      '{"line":"after"}',
      '{"line":"before"}',
      '{"restarted":true}',
      '{"restarted":true}',
    ]);
    assert.ok(seen.findIndex((event) => event.restarted) < seen.indexOf("after"));
    assert.equal(fake.count("daemon.status"), 1);
  });

  test("end with the daemon's error if it refuses them later", async (t) => {
    const { fake, backend } = await connected(t, { "messages.subscribe": () => 5 });
    const refused = new Promise((resolve) => backend.onMessage(() => {}, { keepAlive: true, onError: resolve }));
    await backend.echo();
    fake.methods["messages.subscribe"] = () => {
      throw { code: -32006, message: "too many", data: { limit: 1 } };
    };
    fake.drop();
    assert.equal(/** @type {any} */ (await refused).name, "TooManySubscriptions");
    fake.drop();
    await backend.echo();
    assert.equal(fake.count("messages.subscribe"), 2);
  });

  test("wait for a daemon that is full", async (t) => {
    const { fake, backend } = await connected(t, { "messages.subscribe": () => 5 });
    const gap = new Promise((resolve) => backend.onMessage(() => {}, { onGap: resolve }));
    await backend.echo();
    let refusals = 0;
    fake.methods["daemon.status"] = ({ id }, connection) => {
      if (refusals++ === 2) return {};
      connection.socket.end(`${JSON.stringify({ jsonrpc: "2.0", id, error: { code: -32009, message: "full" } })}\n`);
      return LATER;
    };
    fake.drop();
    assert.deepEqual(await gap, { restarted: true });
    assert.equal(refusals, 3);
  });

  test("of Bindings tell of the gap, too", async (t) => {
    const fake = await fakeDaemon(t, { "messages.subscribe": () => 5 });
    const chat = new Bindings({}, { socket: fake.path });
    t.after(() => chat.end());
    /** @type {any[]} */
    const data = [];
    const gap = new Promise((resolve) => chat.onMessage((item) => data.push(item), { onGap: resolve }));
    await chat.echo();
    fake.drop();
    assert.deepEqual(await gap, { restarted: true });
    assert.deepEqual(data, []);
  });

  test("are no reason to connect again where there are none", async (t) => {
    const { fake, backend } = await connected(t, { "messages.subscribe": () => 5 });
    const leave = backend.onMessage(() => {});
    await backend.echo();
    leave();
    await fake.told("messages.unsubscribe");
    fake.drop();
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(fake.connections.size, 0);
    await backend.echo();
  });
});

describe("closing", () => {
  test("takes no time while the daemon is away", async (t) => {
    const { fake, backend } = await connected(t, { "messages.subscribe": () => 5 });
    backend.onMessage(() => {}, { keepAlive: true });
    const call = backend.once().catch((/** @type {Error} */ error) => error.name);
    await fake.told("once");
    await fake.stop();
    assert.equal(await call, "Disconnected");
    const waiting = backend.echo().catch((/** @type {Error} */ error) => error.name);
    const since = performance.now();
    await backend.close();
    assert.equal(await waiting, "NotReached");
    assert.ok(performance.now() - since < 5000);
    await fake.restart();
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(fake.connections.size, 0);
  });

  test("nothing connects again after it", async (t) => {
    const { fake, backend } = await connected(t);
    const calls = [backend.call("twice", [], { idempotent: true }), backend.twice()];
    const lost = Promise.all(calls.map((call) => assert.rejects(call, { name: "Disconnected" })));
    await fake.told("twice", 2);
    const closed = backend.close();
    fake.drop();
    await lost;
    await closed;
    assert.equal(fake.count("daemon.status"), 0);
  });

  test("a program with nothing but a subscription ends while the daemon is away", async (t) => {
    const fake = await fakeDaemon(t, {
      bye: () => {
        void fake.stop();
        return LATER;
      },
    });
    const { code, stdout, stderr } = await runProgram(
      `const chat = new Bindings({}, { socket });
       chat.onMessage(() => {});
       console.log(await chat.bye().catch((error) => error.name));`,
      fake.path,
    );
    assert.deepEqual([code, stdout, stderr], [0, "Disconnected\n", ""]);
  });
});

test("methods are known by nobody here: a reload is seen by the next call", async (t) => {
  const { fake, backend } = await connected(t);
  await assert.rejects(backend.anew(), { name: "MethodNotFound" });
  fake.methods.anew = () => "there";
  assert.equal(await backend.anew(), "there");
  delete fake.methods.anew;
  await assert.rejects(backend.anew(), { name: "MethodNotFound" });
});
