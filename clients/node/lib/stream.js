import { asyncDispose } from "./dispose.js";
import { AbortError, Closed, callSite, Disconnected, fromWire, thrownAt } from "./errors.js";
import { Fifo } from "./fifo.js";

export const DEFAULT_WINDOW = 512;

/**
 * @typedef {object} StreamOptions
 * @property {AbortSignal} [signal]
 * @property {number} [timeoutMs]
 * @property {number} [window] how many items may be under way, unread
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
  constructor(session, method, params, { signal, timeoutMs, window = DEFAULT_WINDOW }) {
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
    this.#start(method, params, timeoutMs);
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
   * @param {string} method
   * @param {object | undefined} params
   * @param {number | undefined} timeoutMs
   */
  #start(method, params, timeoutMs) {
    const window = this.#window === Infinity ? undefined : this.#window;
    const acknowledged = this.#session.call(
      "stream.call",
      { method, params, timeout_ms: timeoutMs, window },
      {
        site: this.#site,
        signal: this.#giveUp.signal,
        // Some of its items may have been read, so it is never sent again.
        idempotent: false,
        onResult: (id) => this.#opened(id),
        onLateResult: (id) => this.#session.tell("stream.cancel", [id]),
      },
    );
    acknowledged.catch((error) => {
      const mine = error instanceof Disconnected ? new Disconnected(error.cause, method) : error;
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
      this.#finish(event.error ? { error: thrownAt(fromWire(event.error), this.#site) } : { value: event.end });
    }
  }

  /** @param {any[]} values */
  #onItems(values) {
    if (this.#outcome) return;
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
