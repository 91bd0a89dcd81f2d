import { MOST_REFUSALS } from "./calls.js";
import { asyncDispose } from "./dispose.js";
import { AbortError, Closed, callSite, Disconnected, fromWire, neverBegan, thrownAt } from "./errors.js";
import { Fifo } from "./fifo.js";

export const DEFAULT_WINDOW = 512;

/**
 * @typedef {object} StreamOptions
 * @property {AbortSignal} [signal]
 * @property {number} [timeoutMs]
 * @property {number} [window] how many items may be under way, unread
 * @property {string} [traceparent] the trace that it belongs to
 * @property {string} [tracestate]
 */

/**
 * One call's partial results, for one reader. At most `window` items are ever held here: the daemon sends more as they
 * are read, and a generator waits at its yield. Leaving the loop early cancels the call.
 *
 * @implements {AsyncIterableIterator<any>}
 */
export class ResultStream {
  #session;
  #method;
  #window;
  #site = callSite();
  /** @type {number | undefined} the subscription, once acknowledged and until its end */
  #id;
  #items = new Fifo();
  /** @type {((result: IteratorResult<any, any> | Promise<IteratorResult<any, any>>) => void)[]} */
  #readers = [];
  #readSinceMore = 0;
  /** @type {string | undefined} what it was asked for with, as long as it may be asked for again: it has not begun */
  #asked;
  #refusals = 0;
  #madeAt = Date.now();
  /** @type {{ value: any } | { error: Error } | undefined} how it ended */
  #outcome;
  /** The outcome goes to one reader; later ones are told that it is over. */
  #outcomeRead = false;
  #release;
  #giveUp = new AbortController();
  /** @type {{ resolve: (value: any) => void, reject: (error: Error) => void }} */
  #settle = { resolve: () => {}, reject: () => {} };
  /** @type {() => void} */
  #unwatch = () => {};

  /**
   * @param {import("./session.js").Session} session
   * @param {string} method
   * @param {object | undefined} params
   * @param {StreamOptions} options
   */
  constructor(session, method, params, { signal, timeoutMs, window = DEFAULT_WINDOW, traceparent, tracestate }) {
    if (window !== Infinity && !(Number.isSafeInteger(window) && window > 0)) {
      throw new TypeError("a stream's window is a whole number above 0, or Infinity");
    }
    this.#session = session;
    this.#method = method;
    this.#window = window;
    /**
     * The method's return value. It can only come when the items have been read.
     * @type {Promise<any>}
     */
    this.result = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // The reader of the items is told of a failure too; who reads only those has no use for this promise.
    this.result.catch(() => {});
    this.#release = session.hold();
    if (signal?.aborted) {
      this.#finish({ error: thrownAt(new AbortError(signal.reason), this.#site) });
      return;
    }
    const onAbort = () => this.#abandon(new AbortError(signal?.reason));
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#unwatch = () => signal?.removeEventListener("abort", onAbort);
    const wanted = window === Infinity ? undefined : window;
    const asked = { method, params, timeout_ms: timeoutMs, window: wanted, traceparent, tracestate };
    // What the caller does to the params later is no part of it.
    this.#asked = JSON.stringify(asked);
    this.#start(asked);
  }

  /** @returns {Promise<IteratorResult<any, any>>} */
  next() {
    if (this.#items.size > 0) {
      const value = this.#items.take();
      this.#allowMore();
      return Promise.resolve({ done: false, value });
    }
    if (this.#outcome) return this.#over();
    return new Promise((resolve) => this.#readers.push(resolve));
  }

  /**
   * Cancels the call, as leaving a `for await` does.
   * @param {any} [value]
   * @returns {Promise<IteratorResult<any, any>>}
   */
  async return(value) {
    this.#outcomeRead = true;
    this.#abandon(new AbortError(undefined, "the stream was ended by its reader"));
    return { done: true, value };
  }

  /**
   * @param {unknown} error
   * @returns {Promise<IteratorResult<any, any>>}
   */
  async throw(error) {
    await this.return();
    throw error;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  async [asyncDispose]() {
    await this.return();
  }

  /**
   * @param {object} asked the params of `stream.call`
   * @param {{ by: Error, times: number }} [refused]
   * @param {number} [timeoutMs] how long to wait for a daemon to take it
   */
  #start(asked, refused, timeoutMs) {
    const acknowledged = this.#session.call("stream.call", asked, {
      site: this.#site,
      refused,
      timeoutMs,
      signal: this.#giveUp.signal,
      // Some of its items may have been read, so it is never sent again.
      idempotent: false,
      onResult: (id) => this.#opened(id),
      onLateResult: (id) => this.#session.tell("stream.cancel", [id]),
    });
    acknowledged.catch((error) => {
      const mine = error instanceof Disconnected ? new Disconnected(error.cause, this.#method) : error;
      this.#finish({ error: mine === error ? error : thrownAt(mine, this.#site) });
    });
  }

  /** @param {number} id */
  #opened(id) {
    this.#id = id;
    this.#session.listen(id, {
      onItem: (event) => this.#onEvent(event),
      onRun: ({ values }) => this.#onItems(values),
      onLost: (cause) => {
        if (this.#id !== id) return; // It has been asked for again.
        this.#id = undefined;
        const error = cause instanceof Closed ? cause : new Disconnected(cause, this.#method);
        this.#finish({ error: thrownAt(error, this.#site) });
      },
    });
  }

  /** @param {any} event */
  #onEvent(event) {
    if ("item" in event) {
      this.#onItems([event.item]);
    } else {
      this.#id = undefined;
      if (event.error && this.#isMadeAgain(event.error)) return;
      this.#finish(event.error ? { error: thrownAt(fromWire(event.error), this.#site) } : { value: event.end });
    }
  }

  /**
   * Has it asked for again, of the next daemon, if this one has not begun it, since it stops.
   * @param {any} wired
   */
  #isMadeAgain(wired) {
    const asked = this.#asked;
    const error = fromWire(wired);
    if (asked === undefined || this.#session.isLeaving || !neverBegan(error)) return false;
    if (this.#refusals >= MOST_REFUSALS) return false;
    this.#refusals++;
    const again = JSON.parse(asked);
    if (again.timeout_ms !== undefined) {
      // Its time is not longer for that.
      again.timeout_ms = Math.max(0, again.timeout_ms - (Date.now() - this.#madeAt));
    }
    this.#start(again, { by: error, times: this.#refusals }, again.timeout_ms);
    return true;
  }

  /** @param {any[]} values */
  #onItems(values) {
    if (this.#outcome) return;
    this.#asked = undefined;
    let given = 0;
    while (given < values.length && this.#readers.length > 0) {
      this.#readers.shift()?.({ done: false, value: values[given++] });
      this.#allowMore();
    }
    if (given < values.length) this.#items.addAll(given === 0 ? values : values.slice(given));
  }

  #allowMore() {
    this.#readSinceMore++;
    // Half a window at a time: one notification for many items, and the daemon never runs dry meanwhile.
    if (this.#id === undefined || this.#readSinceMore * 2 < this.#window) return;
    this.#session.tell("stream.more", [this.#id, this.#readSinceMore]);
    this.#readSinceMore = 0;
  }

  /** @param {AbortError} error */
  #abandon(error) {
    if (this.#outcome) {
      this.#items = new Fifo();
      return;
    }
    if (this.#id === undefined) this.#giveUp.abort();
    else this.#session.tell("stream.cancel", [this.#id]);
    this.#items = new Fifo();
    this.#finish({ error: thrownAt(error, this.#site) });
  }

  /** @param {{ value: any } | { error: Error }} outcome */
  #finish(outcome) {
    if (this.#outcome) return;
    this.#outcome = outcome;
    this.#unwatch();
    this.#release();
    if ("error" in outcome) this.#settle.reject(outcome.error);
    else this.#settle.resolve(outcome.value);
    for (const reader of this.#readers.splice(0)) reader(this.#over());
  }

  /** @returns {Promise<IteratorResult<any, any>>} */
  async #over() {
    const first = !this.#outcomeRead;
    this.#outcomeRead = true;
    if (!first || !this.#outcome) return { done: true, value: undefined };
    if ("error" in this.#outcome) throw this.#outcome.error;
    return { done: true, value: this.#outcome.value };
  }
}
