import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { inspect } from "node:util";
import Bindings from "../python_bindings.js";
import { fakeDaemon, LATER, tempFolder } from "./support/fake.js";

/**
 * @param {import("node:test").TestContext} t
 * @param {Record<string, import("./support/fake.js").Method>} [methods]
 * @param {Record<string, unknown>} [properties]
 */
async function chatting(t, methods, properties = {}) {
  const fake = await fakeDaemon(t, methods);
  const chat = new Bindings(properties, { socket: fake.path });
  t.after(() => chat.end().catch(() => {}));
  return { fake, chat };
}

/** Sends `data` as a message of the connection's own call, then answers it. */
const emits = (/** @type {any[]} */ ...data) => {
  return (/** @type {any} */ { id }, /** @type {any} */ connection) => {
    // Later than the turn it was asked in, as Python would.
    setImmediate(() => {
      for (const item of data) connection.event("messages.item", 5, { call: 1, request: id, method: "m", data: item });
      connection.send({ id, result: "done" });
    });
    return LATER;
  };
};

test("properties are its first requests, in order", async (t) => {
  const { fake, chat } = await chatting(t, {}, { model: "something", missing: undefined });
  await chat.setProperty("tokenizer", 123);
  assert.deepEqual(await chat.getProperty("model"), { property: "model" });
  assert.deepEqual(
    fake.received.map(({ method, params }) => [method, params]),
    [
      ["setProperty", { name: "model", value: "something" }],
      ["setProperty", { name: "missing", value: null }],
      ["setProperty", { name: "tokenizer", value: 123 }],
      ["getProperty", { name: "model" }],
    ],
  );
});

test("a property that is refused fails the next call, which isn't made", async (t) => {
  const refusing = {
    setProperty: () => {
      throw { code: -32028, message: "_x is private", data: { name: "_x" } };
    },
  };
  const { fake, chat } = await chatting(t, refusing, { _x: 1 });
  await assert.rejects(chat.echo(1), { name: "PropertyRefused", data: { name: "_x" } });
  assert.deepEqual(await chat.echo(2), [2]);
  assert.equal(fake.count("echo"), 1);
  await chat.end();
});

test("and end(), where no call was made", async (t) => {
  const refusing = {
    setProperty: () => {
      throw { code: -32028, message: "_x is private", data: { name: "_x" } };
    },
  };
  const { chat } = await chatting(t, refusing, { _x: 1 });
  await assert.rejects(chat.end(), { name: "PropertyRefused" });
});

test("calls that wait for the properties are as they were made", async (t) => {
  const { chat } = await chatting(t, {}, { model: 1 });
  const params = { by: 1 };
  const call = chat.echo(params);
  params.by = 2;
  assert.deepEqual(await call, { by: 1 });
});

test("end() lets what was called before it finish, with every message", async (t) => {
  const { chat } = await chatting(t, { testStream: emits(1, 2, 3), "messages.subscribe": () => 5 }, { model: "m" });
  /** @type {any[]} */
  const seen = [];
  chat.onMessage((data) => seen.push(data));
  const call = chat.testStream();
  const end = chat.end();
  assert.equal(chat.end(), end);
  await assert.rejects(chat.echo(), { name: "Closed", message: /end\(\)/ });
  await end;
  assert.deepEqual(seen, [1, 2, 3]);
  assert.equal(await call, "done");
});

test("has several listeners, which can leave", async (t) => {
  const { fake, chat } = await chatting(t, { testStream: emits("x"), "messages.subscribe": () => 5 });
  /** @type {string[]} */
  const seen = [];
  const listener = (/** @type {string} */ data) => seen.push(data);
  const leave = chat.onMessage(listener);
  chat.onMessage(listener);
  chat.onMessage((data) => seen.push(`other ${data}`))();
  await chat.testStream();
  leave();
  leave();
  await chat.testStream();
  assert.deepEqual(seen, ["x", "x", "x"]);
  assert.equal(fake.count("messages.subscribe"), 1);
});

test("nothing is called by looking at it", async (t) => {
  const { fake, chat } = await chatting(t);
  assert.equal(await chat, chat);
  for (const name of ["then", "catch", "finally", "toJSON"]) assert.equal(chat[name], undefined);
  JSON.stringify({ chat });
  inspect(chat, { depth: 5 });
  `${Object.prototype.toString.call(chat)}`;
  assert.throws(() => assert.deepEqual(chat, {}));
  await chat.echo();
  assert.deepEqual(
    fake.received.map(({ method }) => method),
    ["echo"],
  );
});

test("callMethod reaches any name", async (t) => {
  const { chat } = await chatting(t, { end: () => "python's", toJSON: () => "its too" });
  assert.equal(await chat.callMethod("end"), "python's");
  assert.equal(await chat.callMethod("toJSON", { a: 1 }), "its too");
});

test("a subclass has its own methods and the routed ones", async (t) => {
  const fake = await fakeDaemon(t);
  class Model extends Bindings {
    #prefix = "hello ";
    async greet(/** @type {string} */ name) {
      return (await this.echo(this.#prefix + name))[0];
    }
  }
  const model = new Model({}, { socket: fake.path });
  assert.equal(await model.greet("you"), "hello you");
  await model.end();
});

test("a failed start is the answer of every call", async (t) => {
  const socket = join(tempFolder(t), "none.sock");
  process.env.BASKD_START = "";
  const chat = new Bindings({ a: 1 }, { socket, bin: "/no/baskd" });
  process.env.BASKD_START = "0";
  await assert.rejects(chat.echo(), { name: "NotInstalled", message: /cargo install baskd/ });
  await assert.rejects(chat.echo(), { name: "NotInstalled" });
  await chat.end();
});

test("where no daemon is to be started, its absence is known at once", async (t) => {
  const socket = join(tempFolder(t), "none.sock");
  for (const chat of [new Bindings({ a: 1 }, { socket }), new Bindings({}, { socket, start: false })]) {
    await assert.rejects(chat.echo(), { name: "NotReached", message: /baskd serve/ });
    await chat.end();
  }
  const alone = new Bindings({}, { private: true, start: false });
  await assert.rejects(alone.echo(), { name: "UsageError", message: /`start: false`/ });
});
