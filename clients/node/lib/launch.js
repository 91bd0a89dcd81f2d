/**
 * Starting a daemon. Theory of operation:
 *
 * The daemon is a process of its own, in a session of its own; what it says goes to a file, since a pipe would end with
 * us. It is up when its socket takes a connection, and that is tried until it does or the process has ended. One that
 * has ended is the reason to stop waiting, and what it said is the error, with one exception: where two programs start
 * the same instance at once, the daemon of one is refused. That one goes on knocking, for the other's socket is about
 * to be there; and it starts another daemon now and then, in case the first was only on its way out.
 */

import { execFile, spawn } from "node:child_process";
import { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { findBinary } from "./binary.js";
import { BaskdError, NotReached } from "./errors.js";
import { dialSocket } from "./wire.js";

const FIRST_KNOCK_MS = 5;
const LONGEST_KNOCK_MS = 100;
const LOG_KEPT_BYTES = 1024 * 1024;
const SHOWN_BYTES = 4096;

/** What a daemon says that finds another in its place: `ListenError` in crates/baskd/src/net/listen.rs. */
const ANOTHER_RUNS = /\bdaemon runs on\b.*\balready\b/;

/**
 * @typedef {object} Plan
 * @property {string} command
 * @property {string[]} args
 * @property {string} socket where it will listen
 * @property {string} stateFolder
 * @property {number} timeoutMs
 * @property {boolean} tied whether its stdin is a pipe of ours, whose end is the end of the daemon
 */

/**
 * @param {Plan} plan
 * @returns {Promise<{ socket: import("node:net").Socket, daemon: Daemon | undefined }>} no daemon where another
 *   program's was there first
 */
export async function startDaemon(plan) {
  const deadline = Date.now() + plan.timeoutMs;
  let daemon = new Daemon(plan);
  for (let knock = FIRST_KNOCK_MS; ; knock = Math.min(knock * 2, LONGEST_KNOCK_MS)) {
    // Asked before the knock: a daemon that ended after it may have been refused by one that came up in between.
    const ended = daemon.ended;
    const socket = await knockAt(plan.socket);
    if (socket) return { socket, daemon: daemon.ended ? undefined : daemon };
    if (ended) {
      const said = daemon.said();
      if (!ANOTHER_RUNS.test(said) || Date.now() > deadline) throw failed(plan, ended, said);
      if (knock === LONGEST_KNOCK_MS) daemon = new Daemon(plan);
    } else if (Date.now() > deadline) {
      const said = daemon.said();
      daemon.kill();
      throw failed(plan, `did not listen within ${plan.timeoutMs} ms`, said);
    }
    await Promise.race([sleep(knock), ...(ended ? [] : [daemon.end])]);
  }
}

/** @param {string} path */
async function knockAt(path) {
  try {
    return await dialSocket(path);
  } catch (error) {
    if (error instanceof NotReached) return undefined;
    throw error;
  }
}

/**
 * @param {Pick<Plan, "command" | "args">} plan
 * @param {string} how
 * @param {string} said
 */
function failed(plan, how, said) {
  const why = said.trim() || `it said nothing; \`${[plan.command, ...plan.args].join(" ")}\` may tell more`;
  return new BaskdError(`the baskd daemon ${how}: ${why}`, {
    code: "START_FAILED",
    name: "StartFailed",
    data: { command: [plan.command, ...plan.args], stderr: said },
  });
}

/** What `baskd start` says, with status 2, where no config says what is to be served. */
const NOTHING = /\bnothing to start\b/;

/**
 * Starts the daemon that the instance's config describes, by `baskd start`.
 * @param {{ name?: string, socket?: string, bin?: string }} options
 * @returns {Promise<boolean>} false if there is nothing to start
 */
export async function startConfigured({ name, socket, bin }) {
  let program;
  try {
    program = findBinary(bin);
  } catch (error) {
    // Nobody has asked for one, so that there is none is not what is wrong.
    if (bin) throw error;
    return false;
  }
  const args = ["start", ...(name ? ["--name", name] : []), ...(socket ? ["--socket", socket] : [])];
  const { status, said } = await run(program, args);
  if (status === 0) return true;
  if (status === 2 && NOTHING.test(said)) return false;
  throw failed({ command: program, args }, `did not start (${status})`, said.replace(/^baskd: /, ""));
}

/**
 * @param {string} program
 * @param {string[]} args
 * @returns {Promise<{ status: number | string, said: string }>}
 */
function run(program, args) {
  return new Promise((resolve) => {
    execFile(program, args, (error, _, said) => {
      resolve({ status: error ? (error.code ?? error.signal ?? "unknown") : 0, said: said || error?.message || "" });
    });
  });
}

/** A daemon process of ours, and what it has said. */
export class Daemon {
  /** @type {string | undefined} how it ended */
  ended;
  #child;
  #log;
  #logStart;

  /** @param {Plan} plan */
  constructor({ command, args, stateFolder, tied }) {
    mkdirSync(stateFolder, { recursive: true, mode: 0o700 });
    this.#log = openSync(join(stateFolder, "serve.log"), "a+", 0o600);
    if (fstatSync(this.#log).size > LOG_KEPT_BYTES) ftruncateSync(this.#log);
    this.#logStart = fstatSync(this.#log).size;
    this.#child = spawn(command, args, { detached: true, stdio: [tied ? "pipe" : "ignore", this.#log, this.#log] });
    this.#child.unref();
    /** @type {import("node:net").Socket | null} */ (this.#child.stdin)?.unref();
    /** Resolves when the process has ended. */
    this.end = new Promise((/** @type {(value?: undefined) => void} */ resolve) => {
      const over = (/** @type {string} */ how) => {
        this.ended ??= how;
        resolve();
      };
      this.#child.once("error", (error) => over(`can't be started (${error.message})`));
      this.#child.once("exit", (code, signal) => over(signal ? `was ended by ${signal}` : `ended with status ${code}`));
    });
  }

  /** The last of what it wrote since it was started. */
  said() {
    const size = fstatSync(this.#log).size;
    const from = Math.max(this.#logStart, size - SHOWN_BYTES);
    const buffer = Buffer.alloc(Math.max(0, size - from));
    const read = readSync(this.#log, buffer, 0, buffer.length, from);
    return buffer.toString("utf8", 0, read);
  }

  /** It is up: what it says from here on is for its log's readers. */
  forgetLog() {
    closeSync(this.#log);
  }

  kill() {
    if (this.#child.stdin) this.#child.stdin.end();
    else this.#child.kill();
  }

  /** Ends a daemon that is tied to us, and waits until it has ended. */
  async release() {
    if (this.ended) return;
    this.#child.ref();
    this.#child.stdin?.end();
    await this.end;
  }
}
