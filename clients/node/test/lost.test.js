/** A real daemon that is killed under its clients, or changes under them. */

import assert from "node:assert/strict";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { connect } from "../baskd.js";
import { CONTROLLER, home, needsDaemon } from "./support/home.js";
import { runProgram } from "./support/program.js";
import { served } from "./support/served.js";

const quoted = JSON.stringify(CONTROLLER);

describe("a daemon that is killed", needsDaemon, () => {
  test("with 64 calls in flight, again and again: each has one answer, and those that may run twice a result", async (t) => {
    const place = home(t);
    // In a program of its own, which may start daemons, and ends by itself when nothing is pending.
    const { code, stdout, stderr } = await runProgram(
      `const TURNS = 5, EACH = 400, IN_FLIGHT = 64;
       const backend = await connect({ controller: ${quoted}, socket });
       const count = { made: 0, settled: 0, double: 0, triple: 0, disconnected: 0, wrong: [] };
       async function one(n) {
         const method = n % 2 ? "double" : "triple";
         count.made++;
         try {
           // As its caller says, too: what only the controller says has to be asked of the next Python in time.
           const result = await backend.call(method, [n], { idempotent: method === "double" ? true : undefined });
           if (result === (n % 2 ? 2 : 3) * n) count[method]++;
           else count.wrong.push([method, n, result]);
         } catch (error) {
           if (error.name === "Disconnected" && error.data.method === "triple") count.disconnected++;
           else count.wrong.push([method, n, String(error)]);
         }
         count.settled++;
       }
       let n = 0;
       let killed = 0;
       const pids = new Set();
       for (let turn = 0; turn < TURNS; turn++) {
         const { pid } = await backend.status();
         pids.add(pid);
         const last = (turn + 1) * EACH;
         const workers = Array.from({ length: IN_FLIGHT }, async () => {
           while (n < last) {
             await one(n++);
             // Several may have settled at once.
             if (killed > turn || count.settled < last - EACH / 2) continue;
             killed = turn + 1;
             process.kill(pid, "SIGKILL");
           }
         });
         await Promise.all(workers);
       }
       console.log(JSON.stringify({ ...count, daemons: pids.size }));`,
      place.socket,
      place,
    );
    assert.deepEqual([code, stderr], [0, ""]);
    const count = JSON.parse(stdout);
    assert.deepEqual(count.wrong, []);
    assert.deepEqual([count.made, count.settled, count.double], [2000, 2000, 1000]);
    assert.equal(count.triple + count.disconnected, 1000);
    assert.ok(count.disconnected > 0 && count.disconnected <= 5 * 64);
    assert.equal(count.daemons, 5);
    t.diagnostic(stdout);
  });

  test("ends streams, and subscriptions go on in the next one, told of the gap", async (t) => {
    const place = home(t);
    const { code, stdout, stderr } = await runProgram(
      `const backend = await connect({ controller: ${quoted}, socket });
       const { pid } = await backend.status();
       const seen = [];
       let heard;
       const second = new Promise((resolve) => { heard = resolve; });
       backend.onMessage(({ k }) => { seen.push(k); if (seen.length === 3) heard(); }, { onGap: (gap) => seen.push(gap) });
       await backend.emit(1);
       const stream = backend.stream.count({ to: 1e9 }, { window: 8 });
       await stream.next();
       process.kill(pid, "SIGKILL");
       const lost = await stream.result.catch((error) => error);
       await backend.emit(1);
       await second;
       console.log(JSON.stringify({ seen, lost: lost.name, method: lost.data.method }));`,
      place.socket,
      place,
    );
    assert.deepEqual([code, stderr], [0, ""]);
    assert.deepEqual(JSON.parse(stdout), { seen: [0, { restarted: true }, 0], lost: "Disconnected", method: "count" });
  });

  for (const [kind, options, model] of /** @type {const} */ ([
    ["private, starts again with all that was set", "private: true", "b"],
    ["shared, has what is on disk, and is given what may not be there", "socket", "somebody else's"],
  ])) {
    test(kind, async (t) => {
      const place = home(t);
      const { code, stdout, stderr } = await runProgram(
        `const options = { controller: ${quoted}, ${options} };
         const chat = new Bindings({ model: "a", apiKey: "secret" }, options);
         await chat.setProperty("model", "b");
         if (!options.private) {
           const other = await connect({ socket });
           await other.set("model", "somebody else's");
           await other.close();
         }
         const before = await chat.callMethod("daemon.status");
         process.kill(before.pid, "SIGKILL");
         const again = async () => {
           try {
             return [await chat.getProperty("model"), await chat.getProperty("apiKey")];
           } catch (error) {
             // The kill may not have been noticed when the call was sent.
             if (error.name === "Disconnected") return again();
             throw error;
           }
         };
         console.log(JSON.stringify(await again()));
         await chat.end();`,
        place.socket,
        place,
      );
      assert.deepEqual([code, stderr], [0, ""]);
      assert.deepEqual(JSON.parse(stdout), [model, "secret"]);
    });
  }

  test("is not started again by a connection that wants nothing, nor after end()", async (t) => {
    const place = home(t);
    const { code, stdout, stderr } = await runProgram(
      `const idle = new Bindings({}, { controller: ${quoted}, socket });
       idle.onMessage(() => {}, { onGap: () => console.log("it is back") });
       process.kill((await idle.callMethod("daemon.status")).pid, "SIGKILL");
       // It looks for a daemon several times meanwhile.
       await new Promise((resolve) => setTimeout(resolve, 500));
       await connect({ socket, start: false }).catch((error) => console.log(error.name));
       await idle.end();

       const chat = new Bindings({}, { controller: ${quoted}, socket });
       const { pid } = await chat.callMethod("daemon.status");
       const sleeping = chat.sleep({ seconds: 60 }).catch((error) => console.log(error.name));
       const other = await connect({ socket, start: false, patienceMs: 0 });
       while ((await other.status()).workers[0]?.running.length !== 1);
       const ended = chat.end();
       process.kill(pid, "SIGKILL");
       await sleeping;
       await ended;
       await other.status().catch((error) => console.log(error.name));
       other.close();`,
      place.socket,
      place,
    );
    assert.deepEqual([code, stdout, stderr], [0, "NotReached\nDisconnected\nNotReached\n", ""]);
    const absent = connect({ socket: place.socket });
    await assert.rejects(absent, { name: "NotReached" });
  });
});

test("a reload is seen by the next call", needsDaemon, async (t) => {
  const { socket, cwd, env } = home(t);
  const controller = join(cwd, "controller.py");
  cpSync(CONTROLLER, controller);
  const start = `await (await connect({ socket, controller: ${JSON.stringify(controller)} })).close();`;
  assert.equal((await runProgram(start, socket, { cwd, env })).stderr, "");
  const backend = await connect({ socket });
  t.after(() => backend.close());
  await assert.rejects(backend.anew(), { name: "MethodNotFound" });
  assert.equal(await backend.double(2), 4);
  const text = readFileSync(controller, "utf8").replace("def double", "def anew");
  writeFileSync(controller, text);
  assert.equal(await backend.call("daemon.reload"), true);
  assert.equal(await backend.anew(2), 4);
  await assert.rejects(backend.double(2), { name: "MethodNotFound" });
  const { methods } = await backend.call("rpc.discover");
  assert.ok(methods.some((/** @type {any} */ { name }) => name === "anew"));
});

test("log lines come from the daemon, and from Python", needsDaemon, async (t) => {
  const { backend } = await served(t);
  const heard = new Promise((resolve) => {
    backend.onLog((/** @type {any} */ line) => line.line === "more noise" && resolve(line));
  });
  await backend.noise();
  assert.equal(/** @type {any} */ (await heard).stream, "stderr");
});
