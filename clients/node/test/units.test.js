import assert from "node:assert/strict";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { backoff } from "../lib/backoff.js";
import { findBinary } from "../lib/binary.js";
import { chooseController, instanceNameFor, serves } from "../lib/controller.js";
import { BaskdError, fromWire, MethodError } from "../lib/errors.js";
import { Fifo } from "../lib/fifo.js";
import { Incoming } from "../lib/incoming.js";
import { LineSplitter } from "../lib/lines.js";
import { checkedParams, isRouted, paramsOf } from "../lib/names.js";
import { Pending } from "../lib/pending.js";
import { checkFolder, socketPath } from "../lib/places.js";
import { tempFolder } from "./support/fake.js";

describe("lines", () => {
  /** @param {Buffer[]} chunks */
  const split = (chunks) => {
    /** @type {string[]} */
    const lines = [];
    const splitter = new LineSplitter((line) => lines.push(line));
    for (const chunk of chunks) splitter.push(chunk);
    return lines;
  };

  test("are the same however they were cut", () => {
    const text = Buffer.from('{"a":"ä€𝄞"}\n\n{"b":2}\n{"unfinished"');
    const want = ['{"a":"ä€𝄞"}', "", '{"b":2}'];
    for (let size = 1; size <= text.length; size++) {
      const chunks = [];
      for (let at = 0; at < text.length; at += size) chunks.push(text.subarray(at, at + size));
      assert.deepEqual(split(chunks), want);
    }
  });

  test("of 64 MB in small pieces take no longer than their length", () => {
    const piece = Buffer.alloc(64 * 1024, "x");
    const [line] = split([...Array(1024).fill(piece), Buffer.from("\n")]);
    assert.equal(line?.length, 64 * 1024 * 1024);
  });
});

test("back-off doubles, to a bound, by half at random", () => {
  assert.equal(backoff(0, 1), 100);
  assert.equal(backoff(0, 0), 50);
  assert.equal(backoff(3, 1), 800);
  assert.equal(backoff(1_000_000, 1), 2000);
});

test("a queue gives what it was given, in order", () => {
  const queue = new Fifo();
  const taken = [];
  for (let n = 0; n < 100; n++) {
    queue.addAll([n]);
    if (n % 3 === 2) taken.push(queue.take(), queue.take());
  }
  while (queue.size > 0) taken.push(queue.take());
  assert.deepEqual(
    taken,
    Array.from({ length: 100 }, (_, n) => n),
  );
});

describe("names", () => {
  test("that JavaScript looks up by itself are not routed", () => {
    for (const name of ["then", "catch", "finally", "toJSON", "inspect", "_private", "$$typeof", "", "a b", "1a"]) {
      assert.equal(isRouted(name), false, name);
    }
    assert.equal(isRouted(Symbol.iterator), false);
    for (const name of ["increment", "getModelPath", "x", "snake_case2", "größe"]) assert.equal(isRouted(name), true);
  });

  test("arguments become params", () => {
    assert.equal(paramsOf([]), undefined);
    assert.equal(paramsOf([undefined, undefined]), undefined);
    assert.deepEqual(paramsOf([{ by: 5 }]), { by: 5 });
    assert.deepEqual(paramsOf([5]), [5]);
    assert.deepEqual(paramsOf([[1, 2]]), [[1, 2]]);
    assert.deepEqual(paramsOf([{ a: 1 }, 2]), [{ a: 1 }, 2]);
    assert.deepEqual(paramsOf([new Date(0)]), [new Date(0)]);
    assert.deepEqual(paramsOf([null]), [null]);
    assert.throws(() => checkedParams(5), TypeError);
  });
});

describe("errors", () => {
  test("have the protocol's names", () => {
    const error = fromWire({ code: -32021, message: "Python died", data: { ran: "yes" } });
    assert.equal(error.name, "BackendCrashed");
    assert.deepEqual(error.data, { ran: "yes" });
    assert.equal(fromWire({ code: 7, message: "own" }).name, "BaskdError");
    assert.equal(fromWire(null).code, -32603);
  });

  test("of a method show Python's traceback", () => {
    const traceback = 'Traceback (most recent call last):\n  File "c.py", line 3, in f\nValueError: bad\n';
    const error = fromWire({ code: -32020, message: "ValueError: bad", data: { type: "ValueError", traceback } });
    assert.ok(error instanceof MethodError);
    assert.equal(error.type, "ValueError");
    assert.equal(error.traceback, traceback);
    assert.equal(/** @type {Error} */ (error.cause).stack, traceback.trimEnd());
  });
});

describe("places", () => {
  test("what is given beats the environment", () => {
    const env = { XDG_RUNTIME_DIR: "/run/x", BASKD_SOCKET: "/s/env.sock", BASKD_NAME: "env" };
    assert.equal(socketPath({ socket: "/s/a.sock", name: "a" }, env), "/s/a.sock");
    assert.equal(socketPath({ name: "a" }, env), "/run/x/baskd/a.sock");
    assert.equal(socketPath({}, env), "/s/env.sock");
    assert.equal(socketPath({}, { ...env, BASKD_SOCKET: "" }), "/run/x/baskd/env.sock");
    assert.equal(socketPath({}, { XDG_RUNTIME_DIR: "/run/x" }), "/run/x/baskd/default.sock");
  });

  test("bad names and long paths are told apart from absent daemons", () => {
    for (const name of ["../x", "-a", "a/b", "a".repeat(33)]) assert.throws(() => socketPath({ name }), /UsageError/);
    assert.throws(() => socketPath({ socket: `/${"a".repeat(107)}` }), /108 bytes/);
    assert.equal(socketPath({ socket: `/${"a".repeat(106)}` }).length, 107);
  });

  test("a folder that others could write to is refused", (t) => {
    const folder = join(tempFolder(t), "f");
    const socket = join(folder, "a.sock");
    assert.throws(() => checkFolder(socket), { name: "NotReached", message: /baskd serve/ });
    mkdirSync(folder);
    chmodSync(folder, 0o755);
    assert.throws(() => checkFolder(socket), { name: "UnsafeSocket", message: new RegExp(`755.*chmod 700 ${folder}`) });
    chmodSync(folder, 0o700);
    checkFolder(socket);
    symlinkSync(folder, `${folder}-link`);
    assert.throws(() => checkFolder(`${folder}-link/a.sock`), { name: "UnsafeSocket", message: /link/ });
  });
});

describe("the program", () => {
  test("is the one that is named, and a wrong name is not passed over", (t) => {
    const program = join(tempFolder(t), "baskd");
    writeFileSync(program, "", { mode: 0o755 });
    assert.equal(findBinary(program, {}), program);
    assert.equal(findBinary(undefined, { BASKD_BIN: program }), program);
    assert.equal(findBinary(undefined, { PATH: `/nowhere:${join(program, "..")}` }), program);
    assert.throws(() => findBinary(undefined, { BASKD_BIN: "/no/baskd" }), {
      message: /BASKD_BIN.*cargo install baskd/,
    });
  });
});

describe("controllers", () => {
  test("lend their instance a name", (t) => {
    const folder = tempFolder(t);
    mkdirSync(join(folder, "my app", "python"), { recursive: true });
    const file = join(folder, "my app", "python", "controller.py");
    writeFileSync(file, "");
    const name = instanceNameFor(chooseController(file));
    assert.match(name, /^my-app-[0-9a-f]{8}$/);
    const other = instanceNameFor(chooseController(`${file}:Other`));
    assert.notEqual(other, name);
    const long = join(folder, `${"ü-long_".repeat(9)}.py`);
    writeFileSync(long, "");
    assert.match(instanceNameFor(chooseController(long)), /^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$/);
    assert.match(instanceNameFor(chooseController("pkg.mod:Llama")), /^pkg\.mod-Llama-[0-9a-f]{8}$/);
  });

  test("are recognised by their real path", (t) => {
    const folder = tempFolder(t);
    const file = join(folder, "search.py");
    writeFileSync(file, "");
    symlinkSync(file, join(folder, "link.py"));
    const status = { controller: { spec: `${file}:Controller`, file, class: "Controller", embedded: false } };
    assert.ok(serves(chooseController(join(folder, "link.py")), status));
    assert.ok(!serves(chooseController(`${file}:Other`), status));
    assert.ok(!serves({ spec: undefined }, status));
    assert.ok(serves({ spec: undefined }, { controller: { spec: null, file: null, embedded: true } }));
    assert.throws(() => chooseController(join(folder, "none.py")), /no controller at/);
  });
});

test("the package has its names", async () => {
  const names = Object.keys(await import("baskd"));
  for (const name of ["connect", "Bindings", "BaskdError", "MethodError", "Disconnected", "callOnce", "Router"]) {
    assert.ok(names.includes(name), name);
  }
  const bindings = await import("baskd/python_bindings.js");
  assert.equal(bindings.default, (await import("baskd")).Bindings);
  assert.equal(typeof (await import("baskd/router.js")).default, "function");
});

test("each code of the protocol's table has a name of its own", () => {
  const codes = [-32700, -32600, -32601, -32602, -32603];
  for (let code = -32006; code >= -32011; code--) codes.push(code);
  for (let code = -32020; code >= -32028; code--) codes.push(code);
  const errors = codes.map((code) => fromWire({ code, message: "m", data: { where: "queued", limit: 1 } }));
  assert.equal(new Set(errors.map((error) => error.name)).size, codes.length);
  for (const error of errors) {
    assert.ok(error instanceof BaskdError);
    assert.notEqual(error.name, "BaskdError");
    assert.deepEqual(error.data, { where: "queued", limit: 1 });
  }
  assert.equal(fromWire({ code: 42, message: "m" }).name, "BaskdError");
});

test("lines are read the same in any mixture, and in order", () => {
  /** @type {any[]} */
  const seen = [];
  const incoming = new Incoming({
    onResult: (id, result) => seen.push([id, result]),
    onRun: (subscription, run) => seen.push([subscription, run.method, ...run.values]),
    onMessage: (message) => seen.push(message),
    onNonsense: (line) => seen.push(line),
  });
  const item = (/** @type {number} */ id, /** @type {string} */ json) =>
    `{"jsonrpc":"2.0","method":"stream.item","params":{"subscription":${id},"result":{"item":${json}}}}\n`;
  const message = `{"jsonrpc":"2.0","method":"messages.item","params":{"subscription":3,"result":{"call":1,"request":7,"method":"m","data":"}}}"}}}\n`;
  const odd = '{"jsonrpc":"2.0","id":6,"result":6,"more":1}\n';
  const long = JSON.stringify("x".repeat(5000));
  incoming.read(
    `{"jsonrpc":"2.0","id":1,"result":[1,2]}\n{"jsonrpc":"2.0","id":2,"result":null}\n${odd}${item(1, '"}}}"')}${item(1, "[]")}${item(2, "1")}` +
      `${item(2, long)}${message}{"jsonrpc":"2.0","id":3,"result":${long}}\n{"jsonrpc":"2.0","id":4,"error":{"code":1}}\n\nno\n`,
  );
  const x = "x".repeat(5000);
  assert.deepEqual(seen.slice(0, 3), [
    { jsonrpc: "2.0", id: 1, result: [1, 2] },
    { jsonrpc: "2.0", id: 2, result: null },
    { jsonrpc: "2.0", id: 6, result: 6, more: 1 },
  ]);
  assert.deepEqual(seen.slice(3), [
    [1, undefined, "}}}", []],
    [2, undefined, 1, x],
    [3, "m", "}}}"],
    [3, x],
    { jsonrpc: "2.0", id: 4, error: { code: 1 } },
    "no",
  ]);
});

test("pending calls are found by their ids, however long they take", () => {
  /** @type {Pending<{ id: number }>} */
  const pending = new Pending();
  for (let id = 1; id <= 5000; id++) {
    pending.add({ id });
    if (id > 1) assert.equal(pending.take(id)?.id, id);
  }
  pending.add({ id: 5001 });
  assert.ok(pending.has(1));
  assert.ok(!pending.has(2));
  assert.equal(pending.take(2), undefined);
  assert.deepEqual(pending.takeAll(), [{ id: 1 }, { id: 5001 }]);
  assert.ok(!pending.has(1));
});
