/** Against a real daemon and a real Python. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { connect } from "../baskd.js";
import { CONTROLLER, home, needsDaemon, stop } from "./support/home.js";
import { gone, run, runProgram } from "./support/program.js";
import { served } from "./support/served.js";

const PACKAGE = fileURLToPath(new URL("..", import.meta.url));
const EXAMPLE_OUTPUT = `{ model: 'something' }
{ tokenizer: 123 }
Incremented counter: 5
{ step: 1, of: 5 }
{ step: 2, of: 5 }
{ step: 3, of: 5 }
{ step: 4, of: 5 }
{ step: 5, of: 5 }
`;

describe("the seed's examples, as written,", needsDaemon, () => {
  for (const program of ["index.js", "examples/awaited.js"]) {
    test(`show all they did: ${program}`, async (t) => {
      const { env } = home(t);
      const { code, stdout, stderr } = await run(process.execPath, [program], { cwd: PACKAGE, env });
      assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: EXAMPLE_OUTPUT, stderr: "" });
    });
  }
});

describe("a backend", needsDaemon, () => {
  test("calls, by name and by position, and reports what fails", async (t) => {
    const { backend } = await served(t);
    assert.equal(await backend.add({ a: 1, b: 2 }), 3);
    assert.equal(await backend.add(1, 5), 6);
    assert.deepEqual(await backend.echo({ ü: ["€"] }), { ü: ["€"] });
    assert.equal(await backend.noise(), "quiet");
    assert.equal((await backend.large({ size: 3_000_000 })).length, 3_000_000);
    const error = await backend.boom().catch((/** @type {any} */ error) => error);
    assert.deepEqual([error.name, error.type], ["MethodError", "ValueError"]);
    assert.match(error.traceback, /it was asked to/);
    await assert.rejects(backend.ad(), (/** @type {any} */ error) => error.data.nearest.includes("add"));
    await assert.rejects(backend.add({ a: 1, c: 2 }), { name: "InvalidParams", code: -32602 });
    assert.equal((await backend.status()).controller.file, CONTROLLER);
  });

  test("outlives its Python, with its properties", async (t) => {
    const { backend } = await served(t);
    await backend.set("model", "kept");
    const pid = await backend.pid();
    await assert.rejects(backend.die(), { name: "BackendCrashed" });
    assert.notEqual(await backend.pid(), pid);
    assert.equal(await backend.get("model"), "kept");
  });

  test("cancels by a signal, at once, and the next call is served", async (t) => {
    const { backend } = await served(t);
    const controller = new AbortController();
    const call = backend.call("sleep", { seconds: 60 }, { signal: controller.signal });
    while ((await backend.status()).workers[0]?.running.length !== 1);
    controller.abort();
    await assert.rejects(call, { name: "AbortError" });
    assert.deepEqual(await backend.seen(), ["sleep"]);
  });

  test("ends a call that takes too long", async (t) => {
    const { backend } = await served(t);
    await backend.seen();
    const late = backend.call("sleep", { seconds: 60 }, { timeoutMs: 1000 });
    await assert.rejects(late, { name: "TimedOut", data: { where: "running" } });
    assert.equal(await backend.add(1), 2);
  });

  test("streams, with a small window, to the end", async (t) => {
    const { backend } = await served(t);
    const stream = backend.stream.count({ to: 1000 }, { window: 8 });
    let expected = 0;
    for await (const item of stream) assert.equal(item, expected++);
    assert.equal(expected, 1000);
    assert.equal(await stream.result, "counted");
  });

  test("cancels a stream whose loop is left", async (t) => {
    const { backend } = await served(t);
    for await (const item of backend.stream.count({ to: 1e9 }, { window: 8 })) if (item === 20) break;
    // The generator is closed before a later call begins, or as soon as it next gets its turn.
    while (!(await backend.seen()).includes("count ended"));
  });

  test("hears the messages of its own calls, and of all", async (t) => {
    const { backend, socket } = await served(t);
    const other = await connect({ socket });
    /** @type {any[]} */
    const own = [];
    /** @type {any[]} */
    const all = [];
    backend.onMessage((/** @type {any} */ data) => own.push(data));
    const third = new Promise((resolve) => {
      backend.onMessage(
        (/** @type {any} */ data, /** @type {any} */ message) => {
          all.push([data.k, message.method]);
          if (all.length === 3) resolve(undefined);
        },
        { scope: "all", method: "emit" },
      );
    });
    assert.equal(await backend.emit({ n: 2 }), 2);
    await other.emit({ n: 1 });
    await third;
    assert.deepEqual(own, [{ k: 0 }, { k: 1 }]);
    assert.deepEqual(all, [
      [0, "emit"],
      [1, "emit"],
      [0, "emit"],
    ]);
    await other.close();
  });

  test("comes back to a daemon that was restarted", async (t) => {
    const { backend, socket, env } = await served(t);
    const sleeping = backend.sleep({ seconds: 60 });
    const lost = sleeping.catch((/** @type {any} */ error) => error);
    while ((await backend.status()).workers[0]?.running.length !== 1);
    const { pid, workers } = await backend.status();
    process.kill(workers[0].pid, "SIGKILL");
    assert.equal((await lost).name, "BackendCrashed");
    await stop(socket);
    // Until it has ended it goes on answering those who are connected: that their call is cancelled.
    await gone(pid);
    const waiting = backend.add(1, 1);
    const again = `await (await connect({ socket, controller: ${JSON.stringify(CONTROLLER)}, start: true })).close();`;
    const started = await runProgram(again, socket, { env });
    assert.equal(started.code, 0, started.stderr);
    assert.equal(await waiting, 2);
  });
});

describe("Bindings", needsDaemon, () => {
  test("of two programs that start at once share one daemon", async (t) => {
    const { env, cwd, running } = home(t);
    const program = `const chat = new Bindings({}, { controller: ${JSON.stringify(CONTROLLER)} });
      console.log(await chat.pid());
      await chat.end();`;
    const runs = await Promise.all([1, 2, 3].map(() => runProgram(program, "", { env, cwd })));
    for (const { code, stderr } of runs) assert.deepEqual([code, stderr], [0, ""]);
    assert.equal(new Set(runs.map(({ stdout }) => stdout)).size, 1);
    assert.equal(running().length, 1);
    assert.match(running()[0] ?? "", /^fixtures-[0-9a-f]{8}\.sock$/);
  });

  test("share `default` where that serves their controller, and else have their own", async (t) => {
    const { env, cwd, running } = home(t);
    const use = (/** @type {string} */ controller, /** @type {string} */ more = "") =>
      runProgram(
        `const chat = new Bindings({}, { controller: ${JSON.stringify(controller)} ${more} });
         console.log(await chat.callMethod(${JSON.stringify(controller.endsWith("Other") ? "who" : "echo")}));
         await chat.end();`,
        "",
        { env, cwd },
      );
    assert.equal((await use(CONTROLLER, ', name: "default"')).stdout, "{}\n");
    assert.equal((await use(CONTROLLER)).stdout, "{}\n");
    assert.deepEqual(running(), ["default.sock"]);
    assert.equal((await use(`${CONTROLLER}:Other`)).stdout, "other\n");
    assert.equal(running().length, 2);
    const wrong = await use(`${CONTROLLER}:Other`, ', name: "default"');
    assert.match(wrong.stderr, /WrongController: the daemon at .*default\.sock serves .*controller\.py/);
  });

  test("start a daemon again that was stopped, for a call and not before", async (t) => {
    const { env, cwd, running } = home(t);
    const { code, stdout, stderr } = await runProgram(
      `const chat = new Bindings({ model: "kept" }, { controller: ${JSON.stringify(CONTROLLER)} });
       const { pid } = await chat.callMethod("daemon.status");
       await chat.callMethod("daemon.shutdown");
       const again = () => chat.callMethod("daemon.status").catch((error) => {
         if (error.name === "Disconnected") return again();
         throw error;
       });
       let status = await again();
       while (status.pid === pid) status = await again();
       console.log(await chat.getProperty("model"));`,
      "",
      { env, cwd },
    );
    assert.deepEqual([code, stdout, stderr], [0, "kept\n", ""]);
    assert.equal(running().length, 1);
  });

  test("say why a daemon can't be started, at once", async (t) => {
    const { env, cwd } = home(t);
    const { code, stderr } = await runProgram('await new Bindings({}, { args: ["--no-such-flag"] }).increment();', "", {
      env,
      cwd,
    });
    assert.equal(code, 1);
    assert.match(stderr, /StartFailed: the baskd daemon ended with status 2: .*--no-such-flag/s);
  });

  test("say why a controller can't be loaded", async (t) => {
    const { env, cwd } = home(t);
    const broken = CONTROLLER.replace("controller.py", "broken.py");
    const { code, stderr } = await runProgram(
      `await new Bindings({}, { controller: ${JSON.stringify(broken)} }).echo();`,
      "",
      { env, cwd },
    );
    assert.equal(code, 1);
    assert.match(stderr, /BackendUnavailable/);
    assert.match(stderr, /it can't be imported/);
  });

  test("find python/controller.py in the working folder", async (t) => {
    const { env, cwd } = home(t);
    execFileSync("mkdir", [join(cwd, "python")]);
    execFileSync("cp", [CONTROLLER, join(cwd, "python")]);
    const program = 'const chat = new Bindings({ model: "m" }); console.log(await chat.add(2, 2)); chat.end();';
    const { code, stdout, stderr } = await runProgram(program, "", { env, cwd });
    assert.deepEqual([code, stdout, stderr], [0, "4\n", ""]);
  });
});

describe("a private instance", needsDaemon, () => {
  const START = `const chat = new Bindings({ model: "mine" }, { private: true, controller: ${JSON.stringify(CONTROLLER)} });
    const status = await chat.callMethod("daemon.status");
    console.log(JSON.stringify({ pid: status.pid, python: await chat.pid(), model: await chat.getProperty("model") }));`;

  for (const [how, ending, exit] of /** @type {const} */ ([
    ["end()", "await chat.end();", [0, null]],
    ["its program, which forgot end()", "", [0, null]],
    ["its program, which was killed", 'process.kill(process.pid, "SIGKILL");', [null, "SIGKILL"]],
  ])) {
    test(`ends with ${how}, and leaves nothing`, async (t) => {
      const { env, cwd, running, folder } = home(t);
      const { code, signal, stdout, stderr } = await runProgram(`${START}\n${ending}`, "", { env, cwd });
      assert.deepEqual([code, signal], exit, stderr);
      const { pid, python, model } = JSON.parse(stdout);
      assert.equal(model, "mine");
      assert.deepEqual(running(), []);
      await Promise.all([gone(pid), gone(python)]);
      const left = () => readdirSync(join(folder, "tmp")).concat(readdirSync(join(folder, "state", "baskd")));
      while (left().length > 0) await new Promise((resolve) => setImmediate(resolve));
    });
  }
});
