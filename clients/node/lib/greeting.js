import { neverBegan } from "./errors.js";

/** How long a daemon that took a connection may take to say what it is. */
const GREETING_MS = 10_000;

/** What a daemon says that has nothing against this client but that there are too many. */
export const FULL = "TooManyConnections";

/**
 * @typedef {object} Parts the session's
 * @property {import("./calls.js").Calls} calls
 * @property {import("./outgoing.js").Outgoing} outgoing
 * @property {import("./properties.js").Properties | undefined} properties
 * @property {((status: any) => void) | undefined} check throws if it is not the daemon that was meant
 */

/** What the session itself has to ask on one connection. Nothing more comes of it once that is lost. */
export class Greeting {
  #parts;
  #over = false;
  /** @type {ReturnType<import("./properties.js").Properties["missingFrom"]>} what the daemon lacks */
  #missing = [];
  /** @type {NodeJS.Timeout | undefined} */
  #timer;

  /** @param {Parts} parts */
  constructor(parts) {
    this.#parts = parts;
  }

  /** The connection is lost. */
  end() {
    this.#over = true;
    clearTimeout(this.#timer);
  }

  /** Whether the daemon lacks properties that were set here. */
  get isLacking() {
    return this.#missing.length > 0;
  }

  /**
   * Waits for the daemon's first word: whatever it is, this daemon is there for what comes after it.
   * @param {(error: Error) => void} onLate
   * @param {(refusal: any) => void} onHeard with what it has against this client, if it has
   */
  async hear(onLate, onHeard) {
    this.#timer = setTimeout(() => onLate(new Error(`it said nothing within ${GREETING_MS} ms`)), GREETING_MS);
    // A call that waits keeps the process alive by the connection.
    this.#timer.unref();
    const { error, result: status } = await this.#answer("daemon.status");
    if (this.#over) return;
    clearTimeout(this.#timer);
    let refusal = error?.name === FULL || error?.name === "Forbidden" ? error : undefined;
    if (!error) {
      try {
        this.#parts.check?.(status);
      } catch (wrong) {
        refusal = wrong;
      }
      this.#missing = this.#parts.properties?.missingFrom(status) ?? [];
    }
    onHeard(refusal);
  }

  /** Sets what the daemon has lost. Calls wait meanwhile, since they must not meet a half-made controller. */
  async restore() {
    const { calls, outgoing, properties } = this.#parts;
    const missing = this.#missing;
    this.#missing = [];
    calls.held = true;
    const answers = await Promise.all(missing.map(({ params }) => this.#answer("setProperty", params)));
    if (this.#over) return;
    // A daemon that stops has set nothing: the calls wait for the next one, which is looked at anew.
    if (answers.some(({ error }) => error && neverBegan(error))) return;
    answers.forEach(({ error }, n) => {
      if (!error) return;
      calls.failQueued(() => error);
      // What can be set when Python is better is tried again, before the next call.
      if (properties?.mayBeSetLater(missing[n].name, error)) this.#missing.push(missing[n]);
    });
    calls.held = false;
    outgoing.schedule();
  }

  /** Asks the controller which of the calls that were under way on the last connection may run twice. */
  async clarify() {
    const { calls, outgoing } = this.#parts;
    const { result } = await this.#answer("rpc.discover");
    if (this.#over) return;
    calls.clear(methodsThatMayRunTwice(result));
    outgoing.schedule();
  }

  /**
   * @param {string} method
   * @param {object} [params]
   * @returns {Promise<{ result?: any, error?: any }>} never, if the connection is lost
   */
  #answer(method, params) {
    const { calls, outgoing } = this.#parts;
    return new Promise((done) => {
      const call = calls.make(method, params, {
        standing: true,
        resolve: (result) => done({ result }),
        reject: (error) => done({ error }),
      });
      calls.addStanding([call]);
      outgoing.schedule();
    });
  }
}

/**
 * @param {any} document an answer to `rpc.discover`
 * @returns {Set<string> | undefined}
 */
function methodsThatMayRunTwice(document) {
  const methods = document?.methods;
  if (!Array.isArray(methods)) return undefined;
  return new Set(methods.filter((method) => method?.["x-idempotent"] === true).map(({ name }) => name));
}
