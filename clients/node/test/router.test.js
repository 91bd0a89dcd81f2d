import assert from "node:assert/strict";
import { test } from "node:test";
import Router, { callOnce } from "../router.js";
import { CONTROLLER } from "./support/home.js";

const options = { controller: CONTROLLER };

test("a call is a process of its own", async () => {
  assert.equal(await callOnce("add", { a: 1, b: 2 }, options), 3);
  assert.equal(await callOnce("add", [1], options), 2);
  const [one, other] = await Promise.all([callOnce("pid", undefined, options), callOnce("pid", undefined, options)]);
  assert.notEqual(one, other);
});

test("partial results come before the result", async () => {
  const router = new Router(options);
  /** @type {any[]} */
  const seen = [];
  router.onMessage((data) => seen.push(data));
  assert.equal(await router.emit({ n: 3 }), 3);
  assert.deepEqual(seen, [{ k: 0 }, { k: 1 }, { k: 2 }]);
  assert.equal(await router, router);
});

test("errors are those of a daemon", async () => {
  await assert.rejects(callOnce("boom", {}, options), { name: "MethodError", type: "ValueError" });
  await assert.rejects(callOnce("nope", {}, options), { name: "MethodNotFound" });
  await assert.rejects(callOnce("die", {}, options), { name: "BackendCrashed", message: /SIGKILL/ });
  const broken = CONTROLLER.replace("controller.py", "broken.py");
  await assert.rejects(callOnce("echo", {}, { controller: broken }), {
    name: "BackendCrashed",
    message: /it can't be imported/,
  });
  await assert.rejects(callOnce("echo", {}, { ...options, python: "/no/python" }), { message: /give `python`/ });
  await assert.rejects(callOnce("echo", {}, { ...options, router: "/no/index.py" }), { name: "UsageError" });
});

test("an abort ends the process", async () => {
  const controller = new AbortController();
  const call = callOnce("sleep", { seconds: 60 }, { ...options, signal: controller.signal });
  controller.abort();
  await assert.rejects(call, { name: "AbortError" });
});
