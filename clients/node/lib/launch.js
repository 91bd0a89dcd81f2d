/**
 * Starting a daemon. Theory of operation:
 *
 * The daemon is a process of its own, in a session of its own; what it says goes to a file, since a pipe would end with
 * us. It is up when its socket takes a connection, and that is tried until it does or the process has ended. One that
 * has ended is the reason to stop waiting, and what it said is the error, with one exception: where two programs start
 * the same instance at once, the daemon of one is refused. That one goes on knocking, for the other's socket is about
 * to be there; and it starts another daemon now and then, in case the first was only on its way out.
 *
 * Where it is not known here what to serve, `baskd start` does all that, for it can read the instance's config.
 */

import { execFile, spawn } from "node:child_process";
import { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { findBinary } from "./binary.js";
import { BaskdError, Closed, NotReached } from "./errors.js";
import { dialSocket } from "./wire.js";

const FIRST_KNOCK_MS = 5;
const LONGEST_KNOCK_MS = 100;
const LOG_KEPT_BYTES = 1024 * 1024;
const READ_BYTES = 64 * 1024;
const SHOWN_CHARS = 4096;

/** How long a daemon that is given up may take to end by itself; and one of ours that is no longer needed, with its calls. */
const GIVE_UP_MS = 2_000;
const RELEASE_MS = 30_000;

/** What a daemon says that finds another in its place: `ListenError` in crates/baskd/src/net/listen.rs. */
const ANOTHER_RUNS = /\bdaemon runs on\b.*\balready\b/;

/** What `baskd start` says, with status 2, where nobody has told what to serve. */
const NOTHING = "nothing to start";

/**
 * @typedef {object} Plan
 * @property {string} command
 * @property {string[]} args
 * @property {string} socket where it will listen
 * @property {string} stateFolder
 * @property {number} timeoutMs
 * @property {boolean} tied whether its stdin is a pipe of ours, whose end is the end of the daemon
 * @property {AbortSignal} signal ends the wait. A daemon that is not tied then goes on starting
 */

/**
 * @param {Plan} plan
 * @returns {Promise<{ socket: import("node:net").Socket, daemon: Daemon | undefined }>} no daemon where another
 *   program's was there first
 */
export async function startDaemon(plan) {
  const deadline = Date.now() + plan.timeoutMs;
  let daemon = new Daemon(plan);
  try {
    for (let knock = FIRST_KNOCK_MS; ; knock = Math.min(knock * 2, LONGEST_KNOCK_MS)) {
      // Asked before the knock: a daemon that ended after it may have been refused by one that came up in between.
      const ended = daemon.ended;
      const socket = await knockAt(plan.socket);
      if (socket) return { socket, daemon: daemon.ended ? undefined : daemon };
      if (plan.signal.aborted) throw new Closed("the connection was closed while a daemon was being started for it");
      const isLate = Date.now() > deadline;
      if (ended) {
        const said = daemon.said();
        if (isLate || !ANOTHER_RUNS.test(said)) throw failed(plan, ended, said);
        if (knock === LONGEST_KNOCK_MS) {
          daemon.forgetLog();
          daemon = new Daemon(plan);
        }
      } else if (isLate) {
        await daemon.giveUp();
        throw failed(plan, `did not listen within ${plan.timeoutMs} ms, and was ended`, daemon.said());
      }
      await Promise.race([sleep(knock), ...(ended ? [] : [daemon.end])]);
    }
  } catch (error) {
    if (plan.tied) await daemon.giveUp();
    throw error;
  } finally {
    // What it says from here on is for its log's readers.
    daemon.forgetLog();
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
 * Starts the daemon that the instance's config describes, or `$BASKD_CONTROLLER`.
 * @param {object} plan
 * @param {string | undefined} plan.bin
 * @param {string[]} plan.args for `baskd start`
 * @param {string} plan.socket
 * @param {number} plan.timeoutMs
 * @param {NotReached} plan.absent what it is that keeps us from the daemon, if none can be started
 * @param {AbortSignal} plan.signal
 * @returns {Promise<import("node:net").Socket | NotReached>} why there is nothing to start
 */
export async function startConfigured({ bin, args, socket, timeoutMs, absent, signal }) {
  let command;
  try {
    command = findBinary(bin);
  } catch (error) {
    // Without the program there is no saying whether there was anything to start.
    if (bin || process.env.BASKD_BIN) throw error;
    return absent;
  }
  const arguments_ = ["start", ...args];
  const { error, said } = await new Promise(
    (/** @type {(outcome: { error: any, said: string }) => void} */ resolve) => {
      const options = {
        timeout: timeoutMs,
        signal,
        killSignal: /** @type {const} */ ("SIGKILL"),
        maxBuffer: READ_BYTES,
      };
      execFile(command, arguments_, options, (error, _, said) => resolve({ error, said }));
    },
  );
  if (!error) return await dialSocket(socket);
  if (signal.aborted) throw new Closed("the connection was closed while a daemon was being started for it");
  if (error.code === 2 && said.includes(NOTHING)) {
    return new NotReached(`no baskd daemon answers at ${socket}: ${reasonIn(said)}`, absent.cause);
  }
  const how = error.killed
    ? `did not listen within ${timeoutMs} ms`
    : typeof error.code === "number"
      ? `ended with status ${error.code}`
      : `can't be started (${error.message})`;
  throw failed({ command, args: arguments_ }, how, said);
}

/**
 * @param {{ command: string, args: string[] }} plan
 * @param {string} how
 * @param {string} said
 */
function failed(plan, how, said) {
  const command = [plan.command, ...plan.args];
  const why = reasonIn(said) || `it said nothing; \`${command.join(" ")}\` may tell more`;
  return new BaskdError(`the baskd daemon ${how}: ${why}`, {
    code: "START_FAILED",
    name: "StartFailed",
    data: { command, stderr: said },
  });
}

/**
 * What the program gave as its reason, in its own words; else the last of all it said.
 * @param {string} said
 */
function reasonIn(said) {
  const reason = said.match(/^baskd: (.*)$/gm)?.at(-1);
  return reason ? reason.slice("baskd: ".length) : said.slice(-SHOWN_CHARS).trim();
}

/** A daemon process of ours, and what it has said. */
export class Daemon {
  /** @type {string | undefined} how it ended */
  ended;
  #child;
  /** @type {number | undefined} */
  #log;
  #logStart;

  /** @param {Plan} plan */
  constructor(plan) {
    const { command, args, stateFolder, tied } = plan;
    const path = join(stateFolder, "serve.log");
    let log;
    try {
      mkdirSync(stateFolder, { recursive: true, mode: 0o700 });
      log = openSync(path, "a+", 0o600);
      if (fstatSync(log).size > LOG_KEPT_BYTES) ftruncateSync(log);
    } catch (error) {
      throw failed(plan, `can't be started, for its log can't be written`, /** @type {Error} */ (error).message);
    }
    this.#log = log;
    this.#logStart = fstatSync(log).size;
    this.#child = spawn(command, args, { detached: true, stdio: [tied ? "pipe" : "ignore", log, log] });
    this.#child.unref();
    /** @type {import("node:net").Socket | null} */ (this.#child.stdin)?.unref();
    this.#child.stdin?.on("error", () => {});
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

  /** What was written to its log since it was started. */
  said() {
    if (this.#log === undefined) return "";
    const size = fstatSync(this.#log).size;
    const from = Math.max(this.#logStart, size - READ_BYTES);
    const buffer = Buffer.alloc(Math.max(0, size - from));
    const read = readSync(this.#log, buffer, 0, buffer.length, from);
    return buffer.toString("utf8", 0, read);
  }

  forgetLog() {
    if (this.#log !== undefined) closeSync(this.#log);
    this.#log = undefined;
  }

  /** Ends one that is tied to us, and waits until it has ended. */
  async release() {
    await this.#endWithin(RELEASE_MS);
  }

  /** Ends one that never came to listen. */
  async giveUp() {
    await this.#endWithin(GIVE_UP_MS);
  }

  /** @param {number} ms then it is killed, and what it has started */
  async #endWithin(ms) {
    if (this.ended) return;
    this.#child.ref();
    if (this.#child.stdin) this.#child.stdin.end();
    else this.#child.kill();
    const kill = setTimeout(() => {
      try {
        // It leads a process group, and its Python another, which ends with it.
        if (this.#child.pid) process.kill(-this.#child.pid, "SIGKILL");
      } catch {
        // It has ended just now.
      }
    }, ms);
    await this.end;
    clearTimeout(kill);
  }
}
