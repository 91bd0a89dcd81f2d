import assert from "node:assert/strict";
import { chmodSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { BaskdError, connect, MethodError } from "../baskd.js";
import { fakeDaemon, LATER, tempFolder } from "./support/fake.js";

/** @typedef {import("../types/baskd.js").Backend} Backend */

/**
 * @param {import("node:test").TestContext} t
 * @param {Record<string, import("./support/fake.js").Method>} [methods]
 * @param {object} [options]
 */
async function connected(t, methods, options) {
  const fake = await fakeDaemon(t, methods);
  const backend = await connect({ socket: fake.path, ...options });
  return { fake, backend };
}

describe("calls", () => {
  test("by name, by position, and without params", async (t) => {
    const { fake, backend } = await connected(t);
    assert.deepEqual(await backend.echo({ by: 5 }), { by: 5 });
    assert.deepEqual(await backend.echo(1, "b"), [1, "b"]);
    assert.equal(await backend.echo(), null);
    assert.equal("params" in fake.received[2], false);
    assert.deepEqual(await backend.call("echo", [7]), [7]);
    await assert.rejects(backend.call("echo", 7), TypeError);
  });

  test("of one turn go out in one write, in order", async (t) => {
    const { fake, backend } = await connected(t);
    const numbers = Array.from({ length: 100 }, (_, n) => n);
    const results = await Promise.all(numbers.map((n) => backend.echo(n)));
    assert.deepEqual(
      results,
      numbers.map((n) => [n]),
    );
    assert.deepEqual(
      fake.received.map((message) => message.params[0]),
      numbers,
    );
    assert.equal(fake.chunks, 1);
  });

  test("send params as they were when the call was made", async (t) => {
    const { backend } = await connected(t);
    const params = { by: 1 };
    const call = backend.echo(params);
    params.by = 2;
    assert.deepEqual(await call, { by: 1 });
  });

  test("reach methods whose names are taken", async (t) => {
    const { backend } = await connected(t, { close: () => "python's", constructor: () => "its too" });
    assert.equal(await backend.methods.close(), "python's");
    assert.equal(await backend.methods.constructor(), "its too");
    assert.equal(await backend.call("close"), "python's");
  });

  test("are never made by looking", async (t) => {
    const { fake, backend } = await connected(t);
    assert.equal(await backend, backend);
    assert.equal(JSON.stringify(backend).includes("method"), true);
    assert.equal(`${Object.prototype.toString.call(backend)}`, "[object Object]");
    const { inspect } = await import("node:util");
    inspect(backend);
    for (const member of ["then", "catch", "finally", "toJSON"]) assert.equal(backend[member], undefined);
    assert.equal(backend.stream.then, undefined);
    assert.deepEqual(fake.received, []);
  });

  test("fail with the caller's line in the stack", async (t) => {
    const data = { type: "ValueError", message: "bad", traceback: "Traceback\nValueError: bad\n" };
    const { backend } = await connected(t, {
      bad() {
        throw { code: -32020, message: "ValueError: bad", data };
      },
    });
    const error = await backend.bad().catch((/** @type {unknown} */ error) => error);
    assert.ok(error instanceof MethodError && error instanceof BaskdError);
    assert.equal(error.code, -32020);
    assert.match(error.stack ?? "", /connect\.test\.js/);
    assert.doesNotMatch(error.stack ?? "", /node\/lib\//);
    await assert.rejects(backend.nope(), { name: "MethodNotFound", code: -32601, data: { nearest: [] } });
  });

  test("take a large answer in many pieces", async (t) => {
    const { backend } = await connected(t, { large: () => "é".repeat(8_000_000) });
    assert.equal((await backend.large()).length, 8_000_000);
  });

  test("set and get properties, and ask for the status", async (t) => {
    const { fake, backend } = await connected(t, { "daemon.status": () => ({ state: "ready" }) });
    assert.equal(await backend.set("a", 1), 1);
    assert.equal(await backend.setProperty("a", undefined), null);
    assert.deepEqual(await backend.get("a"), { property: "a" });
    assert.equal((await backend.status()).state, "ready");
    assert.deepEqual(fake.received[1].params, { name: "a", value: null });
  });
});

describe("calls that end early", () => {
  test("an abort rejects at once and cancels", async (t) => {
    const { fake, backend } = await connected(t);
    const controller = new AbortController();
    const call = backend.call("never", undefined, { signal: controller.signal });
    const { id } = await fake.told("never");
    const why = new Error("changed my mind");
    controller.abort(why);
    await assert.rejects(call, { name: "AbortError", code: "ABORT_ERR", cause: why });
    assert.deepEqual((await fake.told("$/cancelRequest")).params, { id });
    await assert.rejects(backend.call("echo", [], { signal: controller.signal }), { name: "AbortError" });
    // The late answer is nobody's, and disturbs nobody.
    for (const connection of fake.connections) connection.send({ id, error: { code: -32024, message: "Cancelled" } });
    assert.equal(await backend.echo(), null);
  });

  test("a time limit is the daemon's to keep", async (t) => {
    const { fake, backend } = await connected(t, {
      "rpc.call"() {
        throw { code: -32023, message: "too late", data: { where: "running" } };
      },
    });
    const error = { name: "TimedOut", code: -32023, data: { where: "running" } };
    await assert.rejects(backend.call("never", { a: 1 }, { timeoutMs: 5 }), error);
    assert.deepEqual(fake.received[0].params, { method: "never", params: { a: 1 }, timeout_ms: 5 });
  });

  test("and the client's where the daemon says nothing", async (t) => {
    const { fake, backend } = await connected(t, { "rpc.call": () => LATER });
    await assert.rejects(backend.call("never", {}, { timeoutMs: 1 }), { name: "TimedOut" });
    await fake.told("$/cancelRequest");
  });
});

describe("a lost connection", () => {
  test("fails what was sent, and keeps what was not", async (t) => {
    const { fake, backend } = await connected(t);
    await lose(fake, backend);
    const kept = backend.echo("kept");
    await fake.restart();
    assert.deepEqual(await kept, ["kept"]);
    assert.equal(fake.count("echo"), 1);
  });

  test("is noticed at the latest by the write that fails, whose calls are kept", async (t) => {
    const { fake, backend } = await connected(t);
    await fake.stop();
    const kept = backend.echo("kept");
    await fake.restart();
    assert.deepEqual(await kept, ["kept"]);
  });

  test("fails a kept call when its patience is over", async (t) => {
    const { fake, backend } = await connected(t, {}, { patienceMs: 1 });
    await lose(fake, backend);
    await assert.rejects(backend.echo(), { name: "NotReached", message: /baskd serve/ });
    await fake.restart();
    assert.equal(await backend.echo(), null);
  });

  test("comes back with its messages", async (t) => {
    const { fake, backend } = await connected(t);
    /** @type {any[]} */
    const seen = [];
    const { promise, resolve } = deferred();
    const unsubscribe = backend.onMessage((/** @type {any} */ data, /** @type {any} */ message) => {
      seen.push([data, message.method]);
      if (seen.length === 2) resolve();
    });
    await backend.echo();
    const emit = (/** @type {number} */ data) => {
      const subscribe = fake.received.filter((message) => message.method === "messages.subscribe").at(-1);
      const result = { call: 1, request: 1, method: "m", data };
      for (const connection of fake.connections) connection.event("messages.item", 1000 + subscribe.id, result);
    };
    emit(1);
    await lose(fake, backend);
    await fake.restart();
    await backend.echo();
    emit(2);
    await promise;
    assert.deepEqual(seen, [
      [1, "m"],
      [2, "m"],
    ]);
    assert.deepEqual((await fake.told("messages.subscribe")).params, { scope: "own" });
    unsubscribe();
    assert.equal((await fake.told("messages.unsubscribe")).params.length, 1);
  });

  test("is given up when an answer is nobody's", async (t) => {
    const { backend } = await connected(t, {
      refused: (_, connection) => {
        connection.send({ id: null, error: { code: -32027, message: "not yours", data: { uid: 7 } } });
        return LATER;
      },
    });
    await assert.rejects(backend.refused(), { name: "Disconnected", message: /not yours/ });
  });

  test("and one that speaks no JSON is given up too", async (t) => {
    const { backend } = await connected(t, {
      garbage: (_, connection) => {
        connection.socket.write("Segmentation fault\n");
        return LATER;
      },
    });
    await assert.rejects(backend.garbage(), { name: "Disconnected", message: /isn't JSON: Segmentation/ });
    assert.equal(await backend.echo(), null);
  });
});

describe("connecting", () => {
  test("says what to do where no daemon is", async (t) => {
    const socket = join(tempFolder(t), "none.sock");
    await assert.rejects(connect({ socket }), { name: "NotReached", message: /baskd serve CONTROLLER/ });
  });

  test("refuses a folder that isn't safe", async (t) => {
    const fake = await fakeDaemon(t);
    chmodSync(dirname(fake.path), 0o755);
    await assert.rejects(connect({ socket: fake.path }), { name: "UnsafeSocket", code: "UNSAFE_SOCKET" });
  });

  test("a closed backend has answered what came before, and refuses what comes after", async (t) => {
    const { fake, backend } = await connected(t, {
      slow: ({ id }, connection) => {
        setImmediate(() => connection.send({ id, result: "done" }));
        return LATER;
      },
    });
    const before = backend.slow();
    const closed = backend.close();
    assert.equal(backend.close(), closed);
    await assert.rejects(backend.echo(), { name: "Closed" });
    await closed;
    assert.equal(await before, "done");
    assert.equal(fake.count("echo"), 0);
  });
});

/**
 * Ends the daemon, and waits until the client has noticed.
 * @param {import("./support/fake.js").FakeDaemon} fake
 * @param {any} backend
 */
async function lose(fake, backend) {
  const sent = assert.rejects(backend.never(), { name: "Disconnected", code: "DISCONNECTED" });
  await fake.told("never");
  await fake.stop();
  await sent;
}

function deferred() {
  let resolve = () => {};
  const promise = new Promise((/** @type {(value?: undefined) => void} */ done) => {
    resolve = done;
  });
  return { promise, resolve };
}
