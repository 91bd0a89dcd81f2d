import { Closed, Disconnected, fromWire, raised, thrownAt } from "./errors.js";
import { Pending } from "./pending.js";

/**
 * @typedef {object} Call
 * @property {number} id
 * @property {string} method of the controller, or one of the daemon's own
 * @property {string} text the request, a line of JSON; empty once it was written, unless it may have to be again
 * @property {boolean | undefined} idempotent whether it may run twice, where its caller has said so
 * @property {boolean} repeated whether it has been written twice
 * @property {number} madeAt
 * @property {(result: any) => void} resolve
 * @property {(error: any) => void} reject
 * @property {import("./errors.js").Site | undefined} site
 * @property {((result: any) => void) | undefined} onResult sees the result before any later line is read
 * @property {((result: any) => void) | undefined} onLateResult takes the result of a call that nobody waits for
 * @property {{ stop: () => void } | undefined} watch
 * @property {boolean} standing made anew for each connection, so neither kept nor failed when one is lost
 * @property {boolean} over answered, failed or given up
 */

/** @type {Map<string, string>} methods as JSON */
const quotes = new Map();
const MOST_QUOTES = 1000;

/** @param {string} method */
function quoted(method) {
  let quote = quotes.get(method);
  if (quote === undefined) {
    quote = JSON.stringify(method);
    if (quotes.size < MOST_QUOTES) quotes.set(method, quote);
  }
  return quote;
}

/** The daemon's own methods have a dot or a slash in their names. */
const DAEMONS_OWN = /[./]/;

/**
 * Whether a call that was lost may go out again, as far as its caller knows.
 * @param {Call} call
 */
function mayRepeat({ method, idempotent, standing, repeated }) {
  return idempotent !== false && !standing && !repeated && !DAEMONS_OWN.test(method);
}

/**
 * The requests without an answer. Queued ones have not left this process and go out on the next connection; pending
 * ones were written, and no one can tell whether they ran if the connection is lost. Those among these that may be
 * written once more are doubtful then, until it is known whether they are idempotent.
 */
export class Calls {
  #lastId = 0;
  /** @type {Call[]} in order, those that were given up meanwhile among them */
  #queue = [];
  /** How many of the queue were not given up. */
  #queued = 0;
  /** @type {Pending<Call>} */
  #pending = new Pending();
  /** @type {Set<Call>} in order */
  #doubtful = new Set();
  #size = 0;
  /** @type {(() => void)[]} */
  #onDrained = [];
  #onBusy;

  /** @param {() => void} onBusy after `busy` has changed */
  constructor(onBusy) {
    this.#onBusy = onBusy;
  }

  /** Whether any call has no answer yet. */
  get busy() {
    return this.#size > 0;
  }

  get queued() {
    return this.#queued;
  }

  get doubtful() {
    return this.#doubtful.size;
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
   * @param {Pick<Call, "resolve" | "reject"> & Partial<Call>} rest
   * @returns {Call}
   */
  make(method, params, { resolve, reject, site, onResult, onLateResult, idempotent, standing = false, ...rest }) {
    const id = ++this.#lastId;
    const head = `{"jsonrpc":"2.0","id":${id},"method":${quoted(method)}`;
    const text = params === undefined ? `${head}}\n` : `${head},"params":${JSON.stringify(params)}}\n`;
    return {
      id,
      method: rest.method ?? method,
      text,
      idempotent,
      repeated: false,
      madeAt: Date.now(),
      resolve,
      reject,
      site,
      onResult,
      onLateResult,
      watch: undefined,
      standing,
      over: false,
    };
  }

  /** @param {Call} call */
  add(call) {
    this.#queue.push(call);
    this.#queued++;
    if (this.#size++ === 0) this.#onBusy();
  }

  /** @param {Call[]} calls to go out before all that wait */
  addFirst(calls) {
    this.#queue = [...calls, ...this.#queue];
    this.#queued += calls.length;
    this.#size += calls.length;
    this.#changed();
  }

  /**
   * A call that is written at once, before all that wait.
   * @param {Call} call
   */
  addSent(call) {
    this.#pending.add(call);
    if (this.#size++ === 0) this.#onBusy();
  }

  /**
   * What is to be written next, in order, and how far in the queue that goes.
   * @param {number} limit stop when there is this much
   */
  next(limit) {
    let text = "";
    let count = 0;
    while (count < this.#queue.length && text.length < limit) {
      const call = this.#queue[count++];
      if (!call.over) text += call.text;
    }
    return { text, count };
  }

  /** @param {number} count of the queue's first, that were written */
  sent(count) {
    for (let n = 0; n < count; n++) {
      const call = this.#queue[n];
      if (call.over) continue;
      if (!mayRepeat(call)) call.text = "";
      this.#pending.add(call);
      this.#queued--;
    }
    this.#queue = count === this.#queue.length ? [] : this.#queue.slice(count);
  }

  /**
   * @param {number} id
   * @param {any} result
   */
  result(id, result) {
    // None is that of a call that was given up.
    const call = this.#pending.take(id);
    if (call === undefined) return;
    if (call.over) {
      call.onLateResult?.(result);
    } else {
      call.over = true;
      call.watch?.stop();
      call.onResult?.(result);
      call.resolve(result);
    }
    this.#less();
  }

  /**
   * @param {number} id
   * @param {any} error
   */
  error(id, error) {
    const call = this.#pending.take(id);
    if (call === undefined) return;
    this.fail(call, fromWire(error));
    this.#less();
  }

  /**
   * @param {Call} call
   * @param {Error} error what it rejects with, unless it is over
   */
  fail(call, error) {
    if (call.over) return;
    call.over = true;
    call.watch?.stop();
    if (call.site || call.standing) call.reject(thrownAt(error, call.site));
    else call.resolve(raised(error));
  }

  /**
   * Nobody waits for it any more. One that was written may be left to be answered, for its `onLateResult`.
   * @param {Call} call
   * @param {Error} error
   * @returns {boolean} whether the daemon is to be told
   */
  giveUp(call, error) {
    if (call.over) return false;
    const isPending = this.#pending.has(call.id);
    this.fail(call, error);
    call.text = "";
    if (this.#doubtful.delete(call)) {
      this.#less();
      return false;
    }
    if (isPending && call.onLateResult) return false;
    if (isPending) this.#pending.take(call.id);
    else this.#queued--;
    this.#less();
    return isPending;
  }

  /**
   * The connection is lost, and with it what was written, but for what may be written once more.
   * @param {Error | undefined} cause
   */
  lose(cause) {
    const lost = this.#pending.takeAll();
    this.#dropQueued((call) => call.standing);
    for (const call of lost) {
      if (!call.over && mayRepeat(call)) {
        this.#doubtful.add(call);
      } else {
        this.#size--;
        if (!call.standing) this.fail(call, new Disconnected(cause, call.method));
      }
    }
    this.#changed();
  }

  /**
   * Decides on doubtful calls: those that may run twice wait to go out, before all others.
   * @param {(call: Call) => boolean | undefined} decide nothing for a call that is left in doubt
   * @param {Error} [cause] of those that are given up
   */
  decide(decide, cause) {
    const again = [];
    for (const call of this.#doubtful) {
      const isIdempotent = decide(call);
      if (isIdempotent === undefined) continue;
      this.#doubtful.delete(call);
      if (isIdempotent) {
        call.repeated = true;
        again.push(call);
      } else {
        this.#size--;
        this.fail(call, cause instanceof Closed ? cause : new Disconnected(cause, call.method));
      }
    }
    this.#queue = [...again, ...this.#queue];
    this.#queued += again.length;
    this.#changed();
  }

  /**
   * Nothing more will be read.
   * @param {Closed} closed
   */
  failPending(closed) {
    const lost = this.#pending.takeAll();
    this.#size -= lost.length;
    for (const call of lost) if (!call.standing) this.fail(call, closed);
    this.decide(() => false, closed);
  }

  /**
   * There will be no connection for them.
   * @param {(call: Call) => Error | undefined} errorFor nothing for a call that may go on waiting
   */
  failQueued(errorFor) {
    this.#dropQueued((call) => {
      const error = errorFor(call);
      if (error) this.fail(call, error);
      return error !== undefined;
    });
    this.#changed();
  }

  /** @param {(call: Call) => boolean} isDropped */
  #dropQueued(isDropped) {
    this.#queue = this.#queue.filter((call) => !call.over && !isDropped(call));
    this.#size -= this.#queued - this.#queue.length;
    this.#queued = this.#queue.length;
  }

  #less() {
    if (--this.#size === 0) this.#changed();
  }

  #changed() {
    if (this.#size === 0) for (const resolve of this.#onDrained.splice(0)) resolve();
    this.#onBusy();
  }
}
