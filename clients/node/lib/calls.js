import { Closed, Disconnected, fromWire, thrownAt } from "./errors.js";

/**
 * @typedef {object} Call
 * @property {number} id
 * @property {string} text the request, a line of JSON
 * @property {number} queuedAt
 * @property {(result: any) => void} onResult called while the answer is read, before any later line is
 * @property {(error: Error) => void} onError
 * @property {boolean} [standing] made anew for each connection, so neither kept nor failed when one is lost
 * @property {import("./errors.js").Site} [site]
 */

/**
 * The requests without an answer. `queued` ones have not left this process and go out on the next connection;
 * `pending` ones were written, and no one can tell whether they ran if the connection is lost.
 */
export class Calls {
  #lastId = 0;
  /** @type {Map<number, Call>} */
  #queued = new Map();
  /** @type {Map<number, Call>} */
  #pending = new Map();
  /** @type {(() => void)[]} */
  #onDrained = [];
  #onChange;

  /** @param {() => void} onChange after `size` may have changed */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  get size() {
    return this.#queued.size + this.#pending.size;
  }

  get queued() {
    return this.#queued.size;
  }

  /** Resolves when every call made so far has its answer. */
  drained() {
    return new Promise((/** @type {(value?: undefined) => void} */ resolve) => {
      this.#onDrained.push(resolve);
      this.#changed();
    });
  }

  /**
   * Params are written down at once: what the caller does to the object later is no part of this call.
   * @param {string} method
   * @param {object | undefined} params
   * @param {Pick<Call, "onResult" | "onError" | "standing" | "site">} rest
   * @returns {Call}
   */
  make(method, params, rest) {
    const id = ++this.#lastId;
    const text = `${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`;
    return { id, text, queuedAt: Date.now(), ...rest };
  }

  /** @param {Call} call */
  add(call) {
    this.#queued.set(call.id, call);
    this.#changed();
  }

  /** @param {Call[]} calls to go out before all that wait */
  addFirst(calls) {
    this.#queued = new Map([...calls.map((call) => /** @type {const} */ ([call.id, call])), ...this.#queued]);
    this.#changed();
  }

  /**
   * What is to be written next, in order.
   * @param {number} limit stop when there is this much
   */
  next(limit) {
    let text = "";
    /** @type {Call[]} */
    const calls = [];
    for (const call of this.#queued.values()) {
      text += call.text;
      calls.push(call);
      if (text.length >= limit) break;
    }
    return { text, calls };
  }

  /** @param {Call[]} calls that were written */
  sent(calls) {
    for (const call of calls) {
      call.text = "";
      this.#queued.delete(call.id);
      this.#pending.set(call.id, call);
    }
  }

  /**
   * @param {{ id?: unknown, result?: unknown, error?: any }} answer
   */
  answer(answer) {
    const call = this.#pending.get(/** @type {number} */ (answer.id));
    // Of a call that was aborted.
    if (!call) return;
    this.#pending.delete(call.id);
    if (answer.error) call.onError(thrownAt(fromWire(answer.error), call.site));
    else call.onResult(answer.result);
    this.#changed();
  }

  /** @param {Call} call */
  isPending(call) {
    return this.#pending.has(call.id);
  }

  /** @param {Call} call to forget */
  drop(call) {
    this.#queued.delete(call.id);
    this.#pending.delete(call.id);
    this.#changed();
  }

  /**
   * The connection is lost.
   * @param {Error | undefined} cause
   */
  failPending(cause) {
    const lost = this.#pending;
    this.#pending = new Map();
    for (const [id, call] of this.#queued) if (call.standing) this.#queued.delete(id);
    for (const call of lost.values()) {
      if (!call.standing) call.onError(thrownAt(cause instanceof Closed ? cause : new Disconnected(cause), call.site));
    }
    this.#changed();
  }

  /**
   * There will be no connection for them.
   * @param {(call: Call) => Error | undefined} errorFor nothing for a call that may go on waiting
   */
  failQueued(errorFor) {
    for (const [id, call] of this.#queued) {
      const error = errorFor(call);
      if (!error) continue;
      this.#queued.delete(id);
      call.onError(error);
    }
    this.#changed();
  }

  #changed() {
    if (this.size === 0) for (const resolve of this.#onDrained.splice(0)) resolve();
    this.#onChange();
  }
}
