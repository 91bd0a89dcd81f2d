import { backoff } from "./backoff.js";
import { Calls } from "./calls.js";
import { AbortError, BaskdError, Closed, callSite, fromWire, NotReached } from "./errors.js";
import { Subscriptions } from "./subscriptions.js";
import { Wire } from "./wire.js";

/** Bytes given to the socket at once. What follows waits here, where a lost connection can't lose it. */
const WRITE_AT_ONCE = 64 * 1024;

/** How much later than the daemon the client looks at a call's time itself, for when the daemon can't be asked. */
const TIMEOUT_GRACE_MS = 250;

/**
 * @typedef {object} CallOptions
 * @property {AbortSignal} [signal]
 * @property {number} [timeoutMs]
 * @property {Function} [below] the caller's line is the one that called this function
 * @property {(result: any) => void} [onResult] sees the result before any later line is read
 */

/**
 * @typedef {object} SessionOptions
 * @property {(wanted: boolean) => Promise<import("node:net").Socket>} dial makes a connection; `wanted` where a call
 *   waits for it, which is worth starting a daemon for
 * @property {number} patienceMs how long a call waits for a connection
 */

/**
 * A connection that comes back.
 *
 * `idle` has no connection and looks for none; a call starts one. `dialing` is at it, `waiting` will be after a
 * back-off, `open` has one, and `closed` is for good. A lost connection fails what was written and keeps what was not.
 * A try that fails with NotReached is made again; any other failure (an unsafe folder, a daemon that can't start) is
 * the answer of all queued calls, since waiting mends none of them.
 */
export class Session {
  /** @type {"idle" | "dialing" | "waiting" | "open" | "closed"} */
  #state = "idle";
  #options;
  #calls = new Calls();
  #subscriptions = new Subscriptions((method, params) => this.#note(method, params));
  /** @type {Wire | undefined} */
  #wire;
  /** @type {string} notifications about calls and streams of this connection, which end with it */
  #notes = "";
  #flushing = false;
  #failures = 0;
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  /** @type {BaskdError | undefined} what the daemon said before it closed */
  #refusal;
  #holds = 0;
  /** @type {(() => void)[]} */
  #onDrained = [];

  /** @param {SessionOptions} options */
  constructor(options) {
    this.#options = options;
  }

  /** The first connection, whose failure is the caller's to know. */
  async open() {
    this.#state = "dialing";
    this.#attach(await this.#options.dial(true));
  }

  /** Starts connecting, for calls to come. */
  start() {
    if (this.#state === "idle") void this.#dial(true);
  }

  /**
   * @param {string} method
   * @param {object} [params]
   * @param {CallOptions} [options]
   * @returns {Promise<any>}
   */
  call(method, params, { signal, timeoutMs, below = this.call, onResult } = {}) {
    if (this.#state === "closed") return Promise.reject(new Closed(`${method} was called on a closed connection`));
    if (signal?.aborted) return Promise.reject(new AbortError(signal.reason));
    const site = callSite(below);
    return new Promise((resolve, reject) => {
      const unwatch = () => {
        signal?.removeEventListener("abort", onAbort);
        clearTimeout(timer);
      };
      const call = this.#calls.make(method, params, {
        site,
        onResult: (result) => {
          unwatch();
          onResult?.(result);
          resolve(result);
          this.#settled();
        },
        onError: (error) => {
          unwatch();
          reject(error);
          this.#settled();
        },
      });
      const giveUp = (/** @type {Error} */ error) => {
        if (this.#calls.drop(call) === "pending") this.#note("$/cancelRequest", { id: call.id });
        call.onError(error);
      };
      const onAbort = () => giveUp(new AbortError(signal?.reason));
      signal?.addEventListener("abort", onAbort, { once: true });
      /** @type {NodeJS.Timeout | undefined} */
      let timer;
      if (timeoutMs !== undefined) {
        const late = () => giveUp(new BaskdError(`${method} had no answer within ${timeoutMs} ms`, { code: -32023 }));
        timer = setTimeout(late, timeoutMs + TIMEOUT_GRACE_MS);
      }
      this.#calls.add(call);
      this.#wake();
    });
  }

  /**
   * Opens a subscription that every later connection opens again.
   * @param {{ method: string, params: object, unsubscribe: string, onItem: (item: any) => void }} wish
   * @returns {() => void} ends it
   */
  subscribe(wish) {
    const remove = this.#subscriptions.want(wish);
    if (this.#wire) {
      this.#calls.add(this.#subscriptionCall(wish));
      this.#schedule();
    } else {
      this.start();
    }
    return remove;
  }

  /**
   * Hands the events of a subscription made by a call to its owner.
   * @param {number | string} id
   * @param {import("./subscriptions.js").Sink} sink
   */
  listen(id, sink) {
    this.#subscriptions.listen(id, sink);
  }

  /**
   * Tells the daemon about a subscription, where its connection lives.
   * @param {string} method
   * @param {unknown[]} params
   */
  tell(method, params) {
    this.#note(method, params);
  }

  /**
   * Keeps the process alive until the returned function is called.
   * @returns {() => void}
   */
  hold() {
    this.#holds++;
    this.#keepAlive();
    let held = true;
    return () => {
      if (held) this.#holds--;
      held = false;
      this.#keepAlive();
    };
  }

  /** Resolves when every call made so far has its answer. */
  drained() {
    return new Promise((/** @type {(value?: undefined) => void} */ resolve) => {
      if (this.#calls.size === 0) resolve();
      else this.#onDrained.push(resolve);
    });
  }

  /** For good. What still waits is refused. */
  close() {
    if (this.#state === "closed") return;
    this.#state = "closed";
    clearTimeout(this.#timer);
    const closed = new Closed("the connection was closed");
    this.#calls.failQueued(() => closed);
    this.#calls.failPending(closed);
    this.#subscriptions.lost(closed);
    this.#flush();
    this.#wire?.end();
  }

  #wake() {
    if (this.#state === "open") this.#schedule();
    else if (this.#state === "idle") void this.#dial(true);
    // The first call after a quiet time doesn't wait for the end of a back-off that was nobody's.
    else if (this.#state === "waiting" && this.#calls.queued === 1) void this.#dial(true);
    this.#keepAlive();
  }

  /** @param {boolean} wanted */
  async #dial(wanted) {
    clearTimeout(this.#timer);
    this.#state = "dialing";
    try {
      const socket = await this.#options.dial(wanted);
      if (this.#closedMeanwhile()) socket.destroy();
      else this.#attach(socket);
    } catch (error) {
      if (!this.#closedMeanwhile()) this.#notReached(/** @type {Error} */ (error));
    }
  }

  #closedMeanwhile() {
    return this.#state === "closed";
  }

  /** @param {Error} error */
  #notReached(error) {
    const now = Date.now();
    const mends = error instanceof NotReached;
    this.#state = "idle";
    this.#calls.failQueued((call) => {
      return mends && now - call.queuedAt < this.#options.patienceMs ? undefined : error;
    });
    if (mends && this.#state === "idle") this.#later();
  }

  #later() {
    this.#state = "waiting";
    this.#timer = setTimeout(() => this.#dial(this.#calls.queued > 0), backoff(this.#failures++));
    this.#keepAlive();
  }

  /** @param {import("node:net").Socket} socket */
  #attach(socket) {
    this.#state = "open";
    this.#refusal = undefined;
    const wire = new Wire(socket, {
      onMessage: (message) => this.#read(message),
      onDrain: () => this.#flush(),
      onClose: (error) => this.#lost(wire, error),
    });
    this.#wire = wire;
    this.#calls.addFirst(this.#subscriptions.wanted.map((wish) => this.#subscriptionCall(wish)));
    this.#schedule();
    this.#keepAlive();
  }

  /** @param {import("./subscriptions.js").Wish} wish */
  #subscriptionCall(wish) {
    const call = this.#calls.make(wish.method, wish.params, {
      standing: true,
      onResult: (id) => {
        this.#subscriptions.opened(wish, id);
        this.#settled();
      },
      onError: (error) => {
        this.#settled();
        // Nobody awaits it, and who asked for messages must not miss that none will come.
        void Promise.reject(error);
      },
    });
    return call;
  }

  /** @param {any} message */
  #read(message) {
    this.#failures = 0;
    if (typeof message?.method === "string") {
      this.#subscriptions.deliver(message.params);
    } else if (message?.id === null && message.error) {
      // It answers none of our calls by name, so one of them would wait for ever: give up this connection.
      this.#refusal = fromWire(message.error);
      this.#wire?.destroy(this.#refusal);
    } else {
      this.#calls.answer(message ?? {});
    }
  }

  /**
   * @param {Wire} wire
   * @param {Error | undefined} error
   */
  #lost(wire, error) {
    if (this.#wire !== wire) return;
    this.#wire = undefined;
    this.#notes = "";
    if (this.#state === "closed") return;
    this.#state = "idle";
    this.#calls.failPending(error);
    this.#subscriptions.lost(error);
    const forbidden = this.#refusal?.name === "Forbidden" ? this.#refusal : undefined;
    if (forbidden) this.#calls.failQueued(() => forbidden);
    else if (this.#state === "idle") this.#later();
  }

  /**
   * @param {string} method
   * @param {object} params
   */
  #note(method, params) {
    if (!this.#wire) return;
    this.#notes += `${JSON.stringify({ jsonrpc: "2.0", method, params })}\n`;
    this.#schedule();
  }

  /** All that is sent in one turn of the event loop goes out in one write. */
  #schedule() {
    if (this.#flushing) return;
    this.#flushing = true;
    process.nextTick(() => this.#flush());
  }

  #flush() {
    this.#flushing = false;
    const wire = this.#wire;
    if (!wire) return;
    let text = this.#notes;
    this.#notes = "";
    while (!wire.full && this.#calls.queued > 0) {
      wire.write(text + this.#calls.take(WRITE_AT_ONCE));
      text = "";
    }
    if (text) wire.write(text);
  }

  #settled() {
    if (this.#calls.size === 0) {
      const waiting = this.#onDrained;
      this.#onDrained = [];
      for (const resolve of waiting) resolve();
    }
    this.#keepAlive();
  }

  /** A call without an answer keeps the process alive, and so does a hold. A connection alone does not. */
  #keepAlive() {
    const on = this.#calls.size + this.#holds > 0;
    this.#wire?.keepAlive(on);
    if (on) this.#timer?.ref();
    else this.#timer?.unref();
  }
}
