/** What a whole program sees: when it ends, and what it ends with. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { fakeDaemon, LATER } from "./support/fake.js";
import { runProgram } from "./support/program.js";

test("a program that forgets close() ends by itself", async (t) => {
  const fake = await fakeDaemon(t);
  const { code, stdout } = await runProgram(
    `const backend = await connect({ socket });
     backend.onMessage(() => {});
     console.log(await backend.echo(1));`,
    fake.path,
  );
  assert.deepEqual([code, stdout], [0, "[ 1 ]\n"]);
});

test("and one that forgets end()", async (t) => {
  const fake = await fakeDaemon(t);
  const { code, stdout } = await runProgram(
    `const chat = new Bindings({ a: 1 }, { socket });
     chat.onMessage(() => {});
     chat.echo(1).then(console.log);`,
    fake.path,
  );
  assert.deepEqual([code, stdout], [0, "[ 1 ]\n"]);
});

test("a call that is under way keeps it alive, and so do a stream and a connection that is to come back", async (t) => {
  const fake = await fakeDaemon(t, {
    slow({ id }, connection) {
      setTimeout(() => connection.send({ id, result: "slow" }), 300);
      return LATER;
    },
    "stream.call"({ id }, connection) {
      connection.send({ id, result: 3 });
      setTimeout(() => connection.event("stream.item", 3, { item: "item" }), 300);
      setTimeout(() => connection.event("stream.item", 3, { end: null }), 400);
      return LATER;
    },
    bye: () => {
      fake.stop().then(() => setTimeout(() => fake.restart(), 300));
      return LATER;
    },
  });
  const { code, stdout } = await runProgram(
    `const backend = await connect({ socket });
     console.log(await backend.slow());
     for await (const item of backend.stream.items()) console.log(item);
     await backend.bye().catch((error) => console.log(error.name));
     console.log(await backend.echo("back"));`,
    fake.path,
  );
  assert.deepEqual([code, stdout], [0, "slow\nitem\nDisconnected\n[ 'back' ]\n"]);
});

test("a failure that nobody awaits is an unhandled rejection, with the caller's line and Python's traceback", async (t) => {
  const traceback = 'Traceback (most recent call last):\n  File "controller.py", line 7, in bad\nValueError: no\n';
  const fake = await fakeDaemon(t, {
    bad() {
      throw { code: -32020, message: "ValueError: no", data: { type: "ValueError", message: "no", traceback } };
    },
  });
  const { code, stderr } = await runProgram(
    `const chat = new Bindings({}, { socket });
     chat.bad();
     chat.end();`,
    fake.path,
  );
  assert.equal(code, 1);
  assert.match(stderr, /MethodError: ValueError: no/);
  assert.match(stderr, /program\.mjs:\d+/);
  assert.match(stderr, /controller\.py", line 7/);
});

test("a listener that throws is an uncaught exception, and no lost message", async (t) => {
  const fake = await fakeDaemon(t, {
    "messages.subscribe": () => 5,
    emit(_, connection) {
      connection.event("messages.item", 5, { call: 1, request: 1, method: "emit", data: "x" });
      return true;
    },
  });
  const { code, stdout } = await runProgram(
    `process.on("uncaughtException", (error) => console.log(error.message));
     const chat = new Bindings({}, { socket });
     chat.onMessage(() => { throw new Error("the listener's"); });
     chat.onMessage((data) => console.log(data));
     console.log(await chat.emit());
     await chat.end();`,
    fake.path,
  );
  assert.deepEqual([code, stdout.split("\n").sort()], [0, ["", "the listener's", "true", "x"]]);
});
