import { backoff } from "./backoff.js";
import { Calls } from "./calls.js";
import { AbortError, affordableSite, Closed, fromWire, NotReached } from "./errors.js";
import { Outgoing } from "./outgoing.js";
import { Subscriptions } from "./subscriptions.js";
import { watched } from "./watched.js";
import { Wire } from "./wire.js";

/**
 * @typedef {object} CallOptions
 * @property {AbortSignal} [signal]
 * @property {number} [timeoutMs]
 * @property {string} [called] the controller's method, where it is called through one of the daemon's
 * @property {boolean} [idempotent] whether the call may run twice; as the controller says, where it is not given
 * @property {import("./errors.js").Site} [site]
 * @property {(result: any) => void} [onResult] sees the result before any later line is read
 * @property {(result: any) => void} [onLateResult] given, a call that is aborted after it was sent isn't cancelled: its
 *   result comes here
 */

/**
 * @typedef {object} SessionOptions
 * @property {(wanted: boolean) => Promise<import("node:net").Socket>} dial makes a connection; `wanted` where a call
 *   waits for it, which is worth starting a daemon for
 * @property {number} patienceMs how long a call waits for a connection
 * @property {() => Promise<void>} [onFinished] what is left to do after the connection is closed, in good order
 */

/** @type {CallOptions} */
const NO_OPTIONS = {};

/** How long a call that was lost under way may be in doubt. The next daemon's Python may still be starting. */
const DOUBT_MS = 2000;

/**
 * A connection that comes back.
 *
 * `idle` has no connection and looks for none; a call starts one. `dialing` is at it, `waiting` will be after a
 * back-off, `open` has one, and `closed` is for good. A lost connection fails what was written and keeps what was not.
 * A try that fails with NotReached is made again; any other failure (an unsafe folder, a daemon that can't start) is
 * the answer of all queued calls, since waiting mends none of them.
 *
 * A connection after one that was lost is used once it has given an answer: a daemon that dies takes connections to its
 * end. Then what was written on the lost one, and may run twice, goes out once more; if its caller has not said so, the
 * controller is asked.
 */
export class Session {
  /** @type {"idle" | "dialing" | "waiting" | "open" | "closed"} */
  #state = "idle";
  #options;
  #calls = new Calls(() => this.#keepAlive());
  #outgoing = new Outgoing(this.#calls);
  #subscriptions = new Subscriptions((method, params) => this.tell(method, params));
  /** @type {Wire | undefined} */
  #wire;
  #failures = 0;
  /** Whether a connection was lost since one has given an answer. */
  #wasLost = false;
  /** @type {NodeJS.Timeout | undefined} for what is in doubt */
  #doubt;
  /** @type {import("./calls.js").Call | undefined} asks the controller about it */
  #asking;
  /** @type {Error | undefined} by which the connection was lost */
  #cause;
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  /** @type {import("./errors.js").BaskdError | undefined} what the daemon said before it closed */
  #refusal;
  #holds = 0;
  /** @type {Promise<void> | undefined} */
  #finishing;

  /** @param {SessionOptions} options */
  constructor(options) {
    this.#options = options;
  }

  /** The first connection, whose failure is the caller's to know. */
  async open() {
    this.#state = "dialing";
    try {
      this.#attach(await this.#options.dial(true));
    } catch (error) {
      await this.finish();
      throw error;
    }
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
  call(method, params, options = NO_OPTIONS) {
    if (this.#finishing || this.#state === "closed") {
      return Promise.reject(new Closed(`${method} was called on a closed connection`));
    }
    const { signal, timeoutMs, idempotent, called = method, site = affordableSite(), onResult, onLateResult } = options;
    if (signal?.aborted) return Promise.reject(new AbortError(signal.reason));
    return new Promise((resolve, reject) => {
      const call = this.#calls.make(method, params, {
        method: called,
        resolve,
        reject,
        site,
        onResult,
        onLateResult,
        idempotent,
      });
      if (signal || timeoutMs !== undefined) {
        call.watch = watched(signal, timeoutMs, method, (error) => {
          if (this.#calls.giveUp(call, error)) this.tell("$/cancelRequest", { id: call.id });
          if (this.#asking && this.#calls.doubtful === 0) this.#endDoubt();
        });
      }
      this.#calls.add(call);
      if (this.#state === "open") this.#outgoing.schedule();
      else this.#wake();
    });
  }

  /**
   * Opens a subscription that every later connection opens again.
   * @param {import("./subscriptions.js").Wish} wish
   * @returns {() => void} ends it
   */
  subscribe(wish) {
    if (this.#state === "closed") throw new Closed("messages were asked for on a closed connection");
    const remove = this.#subscriptions.want(wish);
    if (this.#wire) {
      this.#calls.add(this.#subscriptionCall(wish));
      this.#outgoing.schedule();
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
   * Sends a notification about a call or a stream of this connection. Without a connection there is nothing to tell.
   * @param {string} method
   * @param {object} params
   */
  tell(method, params) {
    this.#outgoing.note(method, params);
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

  /** Refuses later calls, waits for the answers of earlier ones, and closes. */
  finish() {
    this.#finishing ??= this.#calls.drained().then(() => {
      this.close();
      return this.#options.onFinished?.();
    });
    return this.#finishing;
  }

  /** For good, and at once. What still waits is refused. */
  close() {
    if (this.#state === "closed") return;
    this.#state = "closed";
    clearTimeout(this.#timer);
    clearTimeout(this.#doubt);
    const closed = new Closed("the connection was closed");
    this.#calls.failQueued((call) => (call.standing ? undefined : closed));
    this.#calls.failPending(closed);
    this.#subscriptions.lost(closed);
    this.#outgoing.flush();
    this.#wire?.end();
  }

  #wake() {
    if (this.#state === "idle") void this.#dial(true);
    // The first call after a quiet time doesn't wait for the end of a back-off that was nobody's.
    else if (this.#state === "waiting" && this.#calls.queued === 1) void this.#dial(true);
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
    this.#endDoubt();
    this.#calls.failQueued((call) => {
      return mends && now - call.madeAt < this.#options.patienceMs ? undefined : error;
    });
    if (mends) this.#later();
  }

  #later() {
    this.#state = "waiting";
    this.#timer = setTimeout(
      () => this.#dial(this.#calls.queued + this.#calls.doubtful > 0),
      backoff(this.#failures++),
    );
    this.#keepAlive();
  }

  /** @param {import("node:net").Socket} socket */
  #attach(socket) {
    this.#state = "open";
    this.#refusal = undefined;
    const wire = new Wire(socket, {
      onResult: (id, result) => {
        this.#failures = 0;
        this.#calls.result(id, result);
      },
      onRun: (subscription, run) => this.#subscriptions.run(subscription, run),
      onMessage: (message) => this.#read(message),
      onDrain: () => this.#outgoing.flush(),
      onClose: (error) => this.#lost(wire, error),
    });
    this.#wire = wire;
    if (this.#wasLost) this.#prove(wire);
    else this.#use(wire);
    this.#keepAlive();
  }

  /**
   * Asks for an answer, whatever it is: no call has a string for its id, so this cancels nothing.
   * @param {Wire} wire
   */
  #prove(wire) {
    const proven = () => {
      this.#wasLost = false;
      this.#use(wire);
      this.#askAgain();
    };
    const ping = this.#calls.make("rpc.cancel", { id: "none" }, { standing: true, resolve: proven, reject: proven });
    this.#calls.addSent(ping);
    wire.write(ping.text);
  }

  /** @param {Wire} wire */
  #use(wire) {
    this.#calls.addFirst(this.#subscriptions.wanted.map((wish) => this.#subscriptionCall(wish)));
    this.#outgoing.use(wire);
  }

  /** What is in doubt goes out again as its caller says, or else the controller. */
  #askAgain() {
    this.#calls.decide((call) => call.idempotent);
    if (this.#calls.doubtful > 0) {
      this.#asking = this.#calls.make("rpc.discover", undefined, {
        standing: true,
        resolve: (document) => this.#decide(document),
        reject: () => this.#endDoubt(),
      });
      this.#calls.addFirst([this.#asking]);
    }
    this.#outgoing.schedule();
  }

  /** @param {any} document the controller's methods */
  #decide(document) {
    /** @type {any[]} */
    const methods = document?.methods ?? [];
    const idempotent = new Set(methods.filter((method) => method["x-idempotent"]).map((method) => method.name));
    this.#asking = undefined;
    this.#calls.decide((call) => idempotent.has(call.method));
    clearTimeout(this.#doubt);
    this.#outgoing.schedule();
  }

  /** Of those that are left nobody has said that they may run twice. */
  #endDoubt() {
    clearTimeout(this.#doubt);
    this.#calls.decide((call) => call.idempotent === true, this.#cause);
    const asking = this.#asking;
    this.#asking = undefined;
    // Python may be long in starting, and nobody waits for that.
    if (asking) this.#calls.giveUp(asking, new Closed("nothing is in doubt any more"));
    this.#outgoing.schedule();
  }

  /** @param {import("./subscriptions.js").Wish} wish */
  #subscriptionCall(wish) {
    return this.#calls.make(wish.method, wish.params, {
      standing: true,
      resolve: (id) => this.#subscriptions.opened(wish, id),
      // Nobody awaits it, and who asked for messages must not miss that none will come.
      reject: (error) => void Promise.reject(error),
    });
  }

  /** @param {any} message */
  #read(message) {
    // A daemon that refuses each new connection has not answered: the waits go on growing.
    if (!message?.error) this.#failures = 0;
    if (typeof message?.method === "string") {
      this.#subscriptions.deliver(message.params);
    } else if (message?.id === null && message.error) {
      // It answers none of our calls by name, so one of them would wait for ever: give up this connection.
      this.#refusal = fromWire(message.error);
      this.#wire?.destroy(this.#refusal);
    } else if (message?.error) {
      this.#calls.error(message.id, message.error);
    } else {
      this.#calls.result(message?.id, message?.result);
    }
  }

  /**
   * @param {Wire} wire
   * @param {Error | undefined} error
   */
  #lost(wire, error) {
    if (this.#wire !== wire) return;
    this.#wire = undefined;
    this.#outgoing.use(undefined);
    if (this.#state === "closed") return;
    this.#state = "idle";
    const wasDoubtful = this.#calls.doubtful;
    this.#calls.lose(error);
    this.#subscriptions.lost(error);
    const forbidden = this.#refusal?.name === "Forbidden" ? this.#refusal : undefined;
    const isFirst = !this.#wasLost;
    this.#wasLost = true;
    if (this.#calls.doubtful > wasDoubtful) {
      clearTimeout(this.#doubt);
      this.#cause = error;
      this.#doubt = setTimeout(() => this.#endDoubt(), DOUBT_MS);
    }
    if (forbidden) this.#endDoubt();
    if (forbidden) this.#calls.failQueued(() => forbidden);
    // The next daemon may be there, or be started, at once.
    else if (isFirst && this.#calls.doubtful > 0) void this.#dial(true);
    else this.#later();
  }

  /** A call without an answer keeps the process alive, and so does a hold. A connection alone does not. */
  #keepAlive() {
    const on = this.#calls.busy || this.#holds > 0;
    this.#wire?.keepAlive(on);
    if (on) this.#timer?.ref();
    else this.#timer?.unref();
  }
}
