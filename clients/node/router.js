/**
 * The alternative to `Bindings`: a Python process for each call, and no daemon. Nothing is kept between calls, and each
 * pays for its own start; calls run beside one another as far as there are cores.
 */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chooseController } from "./lib/controller.js";
import { AbortError, BaskdError, callSite, fromWire, thrownAt } from "./lib/errors.js";
import { LineSplitter } from "./lib/lines.js";
import { tellListener } from "./lib/listeners.js";
import { checkedParams, paramsOf, Routed } from "./lib/names.js";

const STREAM = "__STREAM__";
const STDERR_KEPT = 4096;

/**
 * @typedef {object} RouterOptions
 * @property {string} [controller] as `Bindings` takes it, and found as it finds it
 * @property {string} [python] the interpreter, or a venv's folder
 * @property {string} [router] the path of `python/index.py`
 *
 * @typedef {RouterOptions & { onMessage?: (data: any) => void, signal?: AbortSignal }} CallOnceOptions
 */

/**
 * Calls one method in a Python process of its own.
 * @param {string} method
 * @param {unknown} [params]
 * @param {CallOnceOptions} [options]
 * @returns {Promise<any>}
 */
export async function callOnce(method, params, { onMessage, signal, ...options } = {}) {
  const site = callSite();
  const request = `${JSON.stringify({ method, params: checkedParams(params) })}\n`;
  if (signal?.aborted) throw thrownAt(new AbortError(signal.reason), site);
  const controller = chooseController(options.controller).spec;
  const args = [findRouter(options.router), ...(controller ? [controller] : [])];
  const answer = await run(findPython(options.python), args, request, onMessage ?? (() => {}), signal);
  if (answer instanceof Error) throw thrownAt(answer, site);
  return answer.result;
}

/**
 * @param {string} python
 * @param {string[]} args
 * @param {string} request
 * @param {(data: any) => void} onMessage
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<{ result: any } | BaskdError>}
 */
function run(python, args, request, onMessage, signal) {
  return new Promise((resolve) => {
    const child = spawn(python, args, { stdio: ["pipe", "pipe", "pipe"] });
    let stderr = "";
    const finish = (/** @type {{ result: any } | BaskdError} */ answer) => {
      signal?.removeEventListener("abort", onAbort);
      resolve(answer);
    };
    const onAbort = () => {
      child.kill();
      finish(new AbortError(signal?.reason));
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    const lines = new LineSplitter((line) => {
      const isItem = line.startsWith(STREAM);
      const message = parsed(isItem ? line.slice(STREAM.length) : line);
      if (message === undefined) finish(crashed(`wrote what isn't JSON: ${line.slice(0, 80)}`, {}, stderr));
      else if (isItem) tellListener(onMessage, message);
      else finish(message?.error ? fromWire(message.error) : { result: message?.result });
    });
    child.stdout.on("data", (chunk) => lines.push(chunk));
    child.stderr.on("data", (chunk) => {
      stderr = (stderr + chunk).slice(-STDERR_KEPT);
    });
    // Python may end before it reads; how it ended is the better error.
    child.stdin.on("error", () => {});
    child.stdin.end(request);
    child.once("error", (error) => finish(crashed(`can't be started (${error.message}): give \`python\``, {}, "")));
    child.once("close", (code, exitSignal) => {
      const how = exitSignal ? `was ended by ${exitSignal}` : `ended with status ${code}`;
      finish(crashed(`${how} before it answered`, exitSignal ? { signal: exitSignal } : { code }, stderr));
    });
  });
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * @param {string} how
 * @param {object} exit
 * @param {string} stderr
 */
function crashed(how, exit, stderr) {
  const lines = stderr.trimEnd().split("\n");
  const said = stderr.trim() ? `: ${lines[lines.length - 1]}` : "";
  return new BaskdError(`Python ${how}${said}`, { code: -32021, data: { exit, stderr: lines } });
}

/** @param {string | undefined} given */
function findRouter(given) {
  const places = given
    ? [resolve(given)]
    : [resolve("python", "index.py"), fileURLToPath(new URL("../../python/index.py", import.meta.url))];
  const found = places.find((path) => existsSync(path));
  if (found) return found;
  throw new BaskdError(`there is no python/index.py at ${places.join(" or ")}: give its path as \`router\``, {
    code: "USAGE",
    name: "UsageError",
  });
}

/** @param {string | undefined} given an interpreter, or a venv's folder */
function findPython(given) {
  if (given) {
    const inVenv = join(given, "bin", "python");
    return existsSync(inVenv) ? inVenv : given;
  }
  const venv = process.env.VIRTUAL_ENV;
  return venv ? join(venv, "bin", "python") : "python3";
}

/** A controller whose every call is a process: `await new Router().increment({ by: 5 })`. */
export default class Router extends Routed {
  #options;
  /** @type {Set<(data: any) => void>} */
  #listeners = new Set();

  /** @param {RouterOptions} [options] */
  constructor(options = {}) {
    super(
      (method, router) =>
        (...args) =>
          router.callMethod(method, ...args),
    );
    this.#options = options;
  }

  /**
   * @param {(data: any) => void} callback gets what calls send while they run
   * @returns {() => void} ends it
   */
  onMessage(callback) {
    const listener = (/** @type {any} */ data) => callback(data);
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /**
   * @param {string} method
   * @param {...any} args one object of named params, or positional ones
   * @returns {Promise<any>}
   */
  callMethod(method, ...args) {
    const onMessage = (/** @type {any} */ data) => {
      for (const listener of [...this.#listeners]) tellListener(listener, data);
    };
    return callOnce(method, paramsOf(args), { ...this.#options, onMessage });
  }
}
