/** Programs that start their daemon: one of them, and what they are told where none can be started. Real ones. */

import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { connect } from "../baskd.js";
import { CONTROLLER, home, needsDaemon } from "./support/home.js";
import { gone, runProgram } from "./support/program.js";

const quoted = JSON.stringify(CONTROLLER);

/**
 * Runs a program that makes one call by Bindings, and says how that went.
 * @param {ReturnType<typeof home>} place
 * @param {string} options
 * @param {NodeJS.ProcessEnv} [more]
 * @param {string} [call]
 */
async function outcome({ env, cwd }, options, more = {}, call = "await chat.pid()") {
  const { stdout, stderr } = await runProgram(
    `const chat = new Bindings({}, { ${options} });
     const since = performance.now();
     let outcome;
     try {
       outcome = { result: ${call} };
     } catch ({ name, message, data }) {
       outcome = { name, message, data };
     }
     await chat.end();
     console.log(JSON.stringify({ ...outcome, ms: performance.now() - since }));`,
    "",
    { env: { ...env, ...more }, cwd },
  );
  assert.equal(stderr, "");
  return JSON.parse(stdout);
}

/**
 * @param {ReturnType<typeof home>} place
 * @param {string} script of a shell, in place of baskd
 */
function program({ folder }, script) {
  const path = join(folder, "not-baskd");
  writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return path;
}

describe("programs that start a daemon at once", needsDaemon, () => {
  test("get one, be they ten", async (t) => {
    const place = home(t);
    const outcomes = await Promise.all(Array.from({ length: 10 }, () => outcome(place, `controller: ${quoted}`)));
    const pids = new Set(outcomes.map(({ result }) => result));
    assert.equal(pids.size, 1, JSON.stringify(outcomes));
    assert.equal(place.running().length, 1);
  });

  test("get one while another is just ending", async (t) => {
    const place = home(t);
    const options = `controller: ${quoted}, socket: ${JSON.stringify(place.socket)}`;
    const { result: old } = await outcome(place, options);
    const backend = await connect({ socket: place.socket });
    // It is answered before the daemon ends, which waits for it.
    const last = backend.sleep({ seconds: 0.5 });
    while ((await backend.status()).workers[0]?.running.length !== 1);
    await backend.call("daemon.shutdown");
    const outcomes = await Promise.all([1, 2, 3].map(() => outcome(place, options)));
    assert.equal(await last, "slept");
    const pids = new Set(outcomes.map(({ result }) => result));
    assert.equal(pids.size, 1, JSON.stringify(outcomes));
    assert.ok(!pids.has(old));
    await backend.close();
  });
});

describe("a daemon that can't be started", needsDaemon, () => {
  test("is told of with its own words, at once", async (t) => {
    const place = home(t);
    const dies = program(place, 'echo "baskd: there is no room here" >&2; exit 3');
    const died = await outcome(place, `controller: ${quoted}, bin: ${JSON.stringify(dies)}`);
    assert.equal(died.name, "StartFailed");
    assert.equal(died.message, "the baskd daemon ended with status 3: there is no room here");
    const killed = await outcome(place, `controller: ${quoted}, bin: ${JSON.stringify(program(place, "kill -9 $$"))}`);
    assert.match(killed.message, /was ended by SIGKILL: it said nothing; `.*serve/);

    const python = await outcome(place, `controller: ${quoted}, python: "/no/python"`);
    assert.equal(python.name, "StartFailed");
    assert.match(python.message, /ended with status 2: .*\/no\/python/);

    mkdirSync(join(place.folder, "config", "baskd"), { recursive: true });
    writeFileSync(join(place.folder, "config", "baskd", "wrong.toml"), "worker = 2\n");
    const config = await outcome(place, `controller: ${quoted}, name: "wrong"`);
    assert.equal(config.name, "StartFailed");
    assert.match(config.message, /wrong\.toml.*`?workers/s);
    const asConnected = await connected(place, 'name: "wrong"');
    assert.match(asConnected, /^StartFailed .*wrong\.toml.*workers/s);

    const absent = await outcome(place, 'controller: "no/such.py"');
    assert.match(absent.message, /there is no controller at .*no\/such\.py/);
    const module = await outcome(place, `controller: ${quoted}, bin: "/no/baskd"`);
    assert.equal(module.name, "NotInstalled");
    for (const { ms } of [died, killed, python, config, absent, module]) assert.ok(ms < 10_000);
    assert.deepEqual(place.running(), []);
  });

  test("nor listens, is ended when its time is over, even if it will not hear of it", async (t) => {
    const place = home(t);
    const pid = join(place.folder, "pid");
    const hangs = program(place, `trap "" TERM; echo $$ > ${pid}; while :; do sleep 0.1; done`);
    for (const more of ["", ", private: true"]) {
      const options = `controller: ${quoted}, bin: ${JSON.stringify(hangs)}, startTimeoutMs: 200${more}`;
      const { name, message } = await outcome(place, options);
      assert.equal(name, "StartFailed");
      assert.match(message, /did not listen within 200 ms/);
      await gone(Number(readFileSync(pid, "utf8")));
    }
    assert.deepEqual(readdirSync(join(place.folder, "tmp")), []);
  });

  test("is no daemon whose Python can't: that is the first call's answer", async (t) => {
    const place = home(t);
    const python = join(place.folder, "python3");
    writeFileSync(python, '#!/bin/sh\necho "no module named life" >&2\nexit 7\n', { mode: 0o755 });
    const { name, data } = await outcome(place, `controller: ${quoted}, python: ${JSON.stringify(python)}`);
    assert.equal(name, "BackendUnavailable");
    assert.match(data.reason, /7/);
    assert.match(JSON.stringify(data.stderr), /no module named life/);
    assert.equal(place.running().length, 1);
  });
});

/**
 * What `connect()` comes to, and one call.
 * @param {ReturnType<typeof home>} place
 * @param {string} options
 * @param {NodeJS.ProcessEnv} [more]
 */
async function connected({ env, cwd }, options, more = {}) {
  const { stdout, stderr } = await runProgram(
    `try {
       const backend = await connect({ ${options} });
       console.log("answered", await backend.add(1));
       await backend.close();
     } catch ({ name, message }) {
       console.log(name, message);
     }`,
    "",
    { env: { ...env, ...more }, cwd },
  );
  assert.equal(stderr, "");
  return stdout.trim();
}

describe("connect()", needsDaemon, () => {
  test("starts what is given, or what the config names, and says where there is nothing to start", async (t) => {
    const place = home(t);
    assert.match(await connected(place, ""), /^NotReached no baskd daemon answers at .*nothing to start/);
    assert.match(await connected(place, "", { BASKD_BIN: "", PATH: dirname(process.execPath) }), /^NotReached/);
    assert.deepEqual(place.running(), []);
    assert.equal(await connected(place, `controller: ${quoted}`), "answered 2");
    assert.match(place.running()[0] ?? "", /^fixtures-/);

    cpSync(CONTROLLER, join(place.cwd, "own.py"));
    mkdirSync(join(place.folder, "config", "baskd"), { recursive: true });
    writeFileSync(join(place.folder, "config", "baskd", "named.toml"), `controller = ${quoted}\n`);
    assert.equal(await connected(place, 'name: "named"'), "answered 2");
    assert.equal(await connected(place, "", { BASKD_CONTROLLER: "own.py" }), "answered 2");
    assert.deepEqual(place.running().sort().slice(0, 1).concat("named.sock"), ["default.sock", "named.sock"]);
  });

  test("starts nothing where that isn't wanted", async (t) => {
    const place = home(t);
    assert.match(await connected(place, `controller: ${quoted}, start: false`), /^NotReached .*baskd serve/);
    assert.match(await connected(place, `controller: ${quoted}`, { BASKD_START: "0" }), /^NotReached/);
    assert.match(await connected(place, "start: true", { BASKD_START: "0" }), /^NotReached/);
    const { name, ms } = await outcome(place, `controller: ${quoted}, start: false`);
    assert.deepEqual([name, ms < 5000], ["NotReached", true]);
    assert.deepEqual(place.running(), []);
    assert.ok(!existsSync(join(place.folder, "state", "baskd")));
  });
});
