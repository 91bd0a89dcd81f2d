import { Closed, Disconnected, fromWire, neverBegan, raised, thrownAt } from "./errors.js";
import { Pending } from "./pending.js";

/** The daemon's own methods that only look. */
const LOOKS = new Set(["daemon.status", "rpc.discover"]);

/** How often a call is made again that daemons have not begun, since they stop: somebody has one after another end. */
export const MOST_REFUSALS = 3;

/**
 * @typedef {object} Call
 * @property {number} id
 * @property {string} method the one that is to run, `rpc.call` or not
 * @property {string} text the request, a line of JSON; empty once it is not to be written again
 * @property {number} madeAt
 * @property {(result: any) => void} resolve
 * @property {(error: any) => void} reject
 * @property {import("./errors.js").Site | undefined} site
 * @property {((result: any) => void) | undefined} onResult sees the result before any later line is read
 * @property {((result: any) => void) | undefined} onLateResult takes the result of a call that nobody waits for
 * @property {{ stop: () => void } | undefined} watch
 * @property {boolean} standing the session's own, made anew for each connection: neither kept nor failed when one is lost
 * @property {boolean | undefined} idempotent whether it may run twice; undefined: as the controller says
 * @property {boolean} resent it was under way when a connection was lost, and is so a second time
 * @property {boolean} gave something of what it sends has been handed on
 * @property {Error | undefined} lostBy why the connection was lost on which it was under way
 * @property {number} refusals how many daemons have not begun it, since they stop
 * @property {Error | undefined} refusedBy what the last of these said
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

/**
 * The requests without an answer. Queued ones have not left this process and go out on the next connection; pending
 * ones were written, and no one can tell whether they ran if the connection is lost. Then those that may run twice are
 * queued again, once; those of which only the controller knows it are unclear until it has been asked. What a daemon
 * that stops has not begun is queued again when its connection has ended, for the next one.
 */
export class Calls {
  /** While this is true, only the session's own go out. */
  held = false;
  /** Whether no other daemon is to be asked. */
  final = false;
  #lastId = 0;
  /** @type {Call[]} the session's own, which go out before all others */
  #standing = [];
  /** @type {Call[]} in order, those that were given up meanwhile among them */
  #queue = [];
  /** How many of the queue were not given up. */
  #queued = 0;
  /** @type {Pending<Call>} */
  #pending = new Pending();
  /** @type {Set<Call>} */
  #unclear = new Set();
  /** @type {Set<Call>} those that wait for the end of the daemon that has refused them */
  #refused = new Set();
  /** The callers' calls. What the session asks for itself keeps nobody waiting. */
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

  /** Whether calls wait for a connection. */
  get waiting() {
    return this.#queued > 0 || this.#unclear.size > 0;
  }

  get queued() {
    return this.#queued;
  }

  get unclear() {
    return this.#unclear.size;
  }

  /** Whether there is anything to write now. */
  get ready() {
    return this.#standing.length > 0 || (this.#queued > 0 && !this.held);
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
  make(method, params, { resolve, reject, site, onResult, onLateResult, standing = false, idempotent }) {
    const id = ++this.#lastId;
    const head = `{"jsonrpc":"2.0","id":${id},"method":${quoted(method)}`;
    const text = params === undefined ? `${head}}\n` : `${head},"params":${JSON.stringify(params)}}\n`;
    const called = method === "rpc.call" ? String(/** @type {any} */ (params)?.method) : method;
    return {
      id,
      method: called,
      text,
      madeAt: Date.now(),
      resolve,
      reject,
      site,
      onResult,
      onLateResult,
      watch: undefined,
      standing,
      idempotent,
      resent: false,
      gave: false,
      lostBy: undefined,
      refusals: 0,
      refusedBy: undefined,
      over: false,
    };
  }

  /** @param {Call} call */
  add(call) {
    this.#queue.push(call);
    this.#queued++;
    if (this.#size++ === 0) this.#onBusy();
  }

  /**
   * It goes out on the next connection, and not on this one.
   * @param {Call} call
   */
  park(call) {
    this.#refused.add(call);
    if (this.#size++ === 0) this.#onBusy();
  }

  /** @param {Call[]} calls the session's own, to go out before all others that wait */
  addStanding(calls) {
    this.#standing.push(...calls);
  }

  /**
   * What is to be written next, in order, and how far in the queue that goes.
   * @param {number} limit stop when there is this much
   */
  next(limit) {
    const queue = this.#writable();
    let text = "";
    let count = 0;
    while (count < queue.length && text.length < limit) {
      const call = queue[count++];
      if (!call.over) text += call.text;
    }
    return { text, count };
  }

  /** @param {number} count of the next ones, that were written */
  sent(count) {
    const queue = this.#writable();
    for (let n = 0; n < count; n++) {
      const call = queue[n];
      if (call.over) continue;
      if (call.standing) call.text = "";
      this.#pending.add(call);
      if (!call.standing) this.#queued--;
    }
    const left = count === queue.length ? [] : queue.slice(count);
    if (queue === this.#standing) this.#standing = left;
    else this.#queue = left;
  }

  #writable() {
    return this.#standing.length > 0 || this.held ? this.#standing : this.#queue;
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
    if (!call.standing) this.#less();
  }

  /**
   * @param {number} id
   * @param {any} error
   */
  error(id, error) {
    const call = this.#pending.take(id);
    if (call === undefined) return;
    const refusal = fromWire(error);
    const mayBeMadeAgain = !(call.over || call.standing || this.final) && call.refusals < MOST_REFUSALS;
    if (mayBeMadeAgain && neverBegan(refusal)) {
      call.refusals++;
      call.refusedBy = refusal;
      this.#refused.add(call);
      return;
    }
    // What daemons that stop say of it tells nothing of the connection that was lost before.
    this.fail(call, call.resent && neverBegan(refusal) ? this.#lossOf(call) : refusal);
    if (!call.standing) this.#less();
  }

  /** @param {number} id of a call some of whose messages have been handed on: it is not sent again */
  gave(id) {
    const call = this.#pending.get(id);
    if (call !== undefined) call.gave = true;
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
    if (isPending && call.onLateResult) return false;
    if (isPending) this.#pending.take(call.id);
    else if (!this.#unclear.delete(call) && !this.#refused.delete(call)) this.#queued--;
    this.#less();
    return isPending;
  }

  /**
   * The connection is lost, and with it what was under way.
   * @param {Error | undefined} cause
   * @param {boolean} again whether there is to be another
   */
  lost(cause, again) {
    this.held = false;
    this.#standing = [];
    /** @type {Call[]} */
    const resent = [];
    for (const call of this.#pending.takeAll()) {
      if (call.standing) continue;
      call.lostBy = cause;
      const idempotent = call.idempotent ?? (LOOKS.has(call.method) || undefined);
      if (!again || call.over || call.resent || call.gave || idempotent === false) this.#fallen(call);
      else if (idempotent) resent.push(call);
      else this.#unclear.add(call);
    }
    const refused = [...this.#refused];
    this.#refused.clear();
    for (const call of resent) call.resent = true;
    this.#requeue([...refused, ...resent].sort((one, other) => one.id - other.id));
    if (!again) this.failQueued((call) => call.refusedBy);
    this.#changed();
  }

  /**
   * What became known of the calls that were under way on a connection that was lost.
   * @param {Set<string> | undefined} idempotent the methods that may run twice; undefined if nobody could say
   */
  clear(idempotent) {
    if (this.#unclear.size === 0) return;
    const calls = [...this.#unclear];
    this.#unclear.clear();
    const resent = calls.filter((call) => idempotent?.has(call.method));
    for (const call of resent) call.resent = true;
    this.#requeue(resent);
    for (const call of calls) if (!call.resent) this.#fallen(call);
    this.#changed();
  }

  /** @param {Call[]} calls to be sent again, before those that were made later */
  #requeue(calls) {
    this.#queue = [...calls, ...this.#queue];
    this.#queued += calls.length;
  }

  /** @param {Call} call that may have run, or not */
  #fallen(call) {
    this.#size--;
    this.fail(call, this.#lossOf(call));
  }

  /** @param {Call} call */
  #lossOf(call) {
    return call.lostBy instanceof Closed ? call.lostBy : new Disconnected(call.lostBy, call.method);
  }

  /**
   * There will be no connection for them.
   * @param {(call: Call) => Error | undefined} errorFor nothing for a call that may go on waiting
   */
  failQueued(errorFor) {
    this.#queue = this.#queue.filter((call) => {
      if (call.over) return false;
      const error = errorFor(call);
      if (error) this.fail(call, this.#whyNot(call) ?? error);
      return error === undefined;
    });
    this.#size -= this.#queued - this.#queue.length;
    this.#queued = this.#queue.length;
    this.#changed();
  }

  /**
   * What is more worth telling of a call than that there is no connection.
   * @param {Call} call
   */
  #whyNot(call) {
    return call.refusedBy && call.resent ? this.#lossOf(call) : call.refusedBy;
  }

  #less() {
    if (--this.#size === 0) this.#changed();
  }

  #changed() {
    if (this.#size === 0) for (const resolve of this.#onDrained.splice(0)) resolve();
    this.#onBusy();
  }
}
