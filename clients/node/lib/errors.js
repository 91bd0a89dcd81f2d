/** What a call can fail with. The numbers are PROTOCOL.md's; the client's own failures have a word instead. */

/** @type {ReadonlyMap<number | string, string>} */
const NAMES = new Map([
  [-32700, "ParseError"],
  [-32600, "InvalidRequest"],
  [-32601, "MethodNotFound"],
  [-32602, "InvalidParams"],
  [-32603, "InternalError"],
  [-32006, "TooManySubscriptions"],
  [-32007, "RequestTooLarge"],
  [-32008, "ResponseTooLarge"],
  [-32009, "TooManyConnections"],
  [-32010, "BatchTooLarge"],
  [-32011, "BatchResponseTooLarge"],
  [-32020, "MethodError"],
  [-32021, "BackendCrashed"],
  [-32022, "BackendUnavailable"],
  [-32023, "TimedOut"],
  [-32024, "Cancelled"],
  [-32025, "Overloaded"],
  [-32026, "ResultNotJson"],
  [-32027, "Forbidden"],
  [-32028, "PropertyRefused"],
]);

/** Every error of this package. `name` is PROTOCOL.md's, `code` a number from the daemon or a word of the client's. */
export class BaskdError extends Error {
  /**
   * @param {string} message
   * @param {{ code: number | string, name?: string, data?: unknown, cause?: unknown }} options
   */
  constructor(message, { code, name, data, cause }) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = name ?? NAMES.get(code) ?? "BaskdError";
    this.code = code;
    this.data = data;
  }
}

/** The Python method raised. */
export class MethodError extends BaskdError {
  /**
   * @param {string} message
   * @param {{ type?: string, message?: string, traceback?: string }} data
   */
  constructor(message, data) {
    super(message, { code: -32020, data, cause: data.traceback ? new PythonError(data) : undefined });
    /** The class of the Python exception, as `"ValueError"`. */
    this.type = data.type ?? "Exception";
    /** Python's own traceback, as it would have been printed. */
    this.traceback = data.traceback ?? "";
  }
}

/** The cause of a MethodError: printed by Node, its stack is Python's traceback. */
class PythonError extends Error {
  /** @param {{ type?: string, message?: string, traceback?: string }} data */
  constructor({ type = "Exception", message = "", traceback = "" }) {
    super(message);
    this.name = type;
    this.stack = traceback.trimEnd();
  }
}

/** The connection was lost while the call was under way: it may or may not have run. */
export class Disconnected extends BaskdError {
  /**
   * @param {unknown} [cause]
   * @param {string} [method] what was called
   */
  constructor(cause, method) {
    const why = cause instanceof Error ? ` (${cause.message})` : "";
    super(
      `the connection to baskd was lost while ${method ?? "the call"} was under way${why}. It may have run or not: call it ` +
        "again if it may run twice",
      { code: "DISCONNECTED", name: "Disconnected", data: method === undefined ? undefined : { method }, cause },
    );
  }
}

/** Nothing could be reached at the socket, and nothing could be started there. */
export class NotReached extends BaskdError {
  /**
   * @param {string} message
   * @param {unknown} [cause]
   */
  constructor(message, cause) {
    super(message, { code: "NOT_REACHED", name: "NotReached", cause });
  }
}

/** The call was made on an object that was closed, or was open when it closed. */
export class Closed extends BaskdError {
  /** @param {string} message */
  constructor(message) {
    super(message, { code: "CLOSED", name: "Closed" });
  }
}

/** What an AbortSignal's abort rejects with; `cause` is the signal's reason. */
export class AbortError extends BaskdError {
  /**
   * @param {unknown} reason
   * @param {string} [message]
   */
  constructor(reason, message = "the call was aborted") {
    super(message, { code: "ABORT_ERR", name: "AbortError", cause: reason });
  }
}

/**
 * The error object of a reply, as something to throw.
 * @param {{ code?: unknown, message?: unknown, data?: any } | null | undefined} error
 * @returns {BaskdError}
 */
export function fromWire(error) {
  const code = typeof error?.code === "number" ? error.code : -32603;
  const message = typeof error?.message === "string" ? error.message : "the daemon gave no reason";
  const data = error?.data ?? undefined;
  if (code === -32020) return new MethodError(message, data ?? {});
  return new BaskdError(message, { code, data });
}

/**
 * Whether a daemon that stops says that it has not begun a call, nor will: the next one can be asked.
 * @param {any} error
 */
export function neverBegan(error) {
  return error?.name === "Cancelled" && error.data?.by === "shutdown" && error.data?.ran === "no";
}

/** @typedef {{ stack?: string }} Site where a call was made */

/** This package's own files, which are no part of a caller's stack. */
const OWN_FILES = ["./", "../python_bindings.js", "../router.js"].map((path) => new URL(path, import.meta.url).href);

/**
 * Remembers where a call is made. An answer's error is built deep in a socket's callback, whose stack tells nobody
 * anything; the caller's own line does.
 * @param {Function} [below] the function whose caller is the first line
 * @returns {Site}
 */
export function callSite(below = callSite) {
  /** @type {Site} */
  const site = {};
  Error.captureStackTrace(site, below);
  return site;
}

/** Sites that may be remembered at once, and how many more each millisecond allows. */
const MOST_SITES = 64;
let sitesLeft = MOST_SITES;
let sitesSince = 0;

/**
 * `callSite` for what is done often: looking up the stack costs more than all else that a call does here. A program
 * that makes calls faster than one a millisecond for a while has some without a site; their errors are `raised`.
 * @returns {Site | undefined}
 */
export function affordableSite() {
  const now = Date.now();
  if (now !== sitesSince) {
    sitesLeft = Math.min(MOST_SITES, sitesLeft + Math.abs(now - sitesSince));
    sitesSince = now;
  }
  if (sitesLeft === 0) return undefined;
  sitesLeft--;
  return callSite(affordableSite);
}

/**
 * Rejects with an error for which no site was remembered. A stack looked up by an async function whose promise someone
 * awaits goes on with the lines that await it, so the caller's line is found after the fact, where there is one.
 * @param {Error} error
 * @returns {Promise<never>}
 */
export async function raised(error) {
  // It takes as long for this promise to be known to those who wait for the one that it settles.
  await undefined;
  await undefined;
  throw thrownAt(error, callSite());
}

/**
 * @template {Error} E
 * @param {E} error
 * @param {Site | undefined} site
 * @returns {E}
 */
export function thrownAt(error, site) {
  const frames = site?.stack?.split("\n").slice(1) ?? [];
  const callers = frames.filter((frame) => !OWN_FILES.some((file) => frame.includes(file)));
  if (callers.length > 0) error.stack = [`${error.name}: ${error.message}`, ...callers].join("\n");
  return error;
}
