import { backoff } from "./backoff.js";
import { Calls } from "./calls.js";
import { AbortError, affordableSite, Closed, fromWire, NotReached } from "./errors.js";
import { FULL, Greeting } from "./greeting.js";
import { Outgoing } from "./outgoing.js";
import { Properties } from "./properties.js";
import { Subscriptions } from "./subscriptions.js";
import { watched } from "./watched.js";
import { Wire } from "./wire.js";

/** How long calls that were under way wait to be told whether they may run twice: the next Python may be starting. */
const UNCLEAR_MS = 2000;

/** How many connections in a row may be lost before a word was said on them: a daemon that is on its way out has such. */
const MOST_STILLBORN = 3;

/**
 * @typedef {object} CallOptions
 * @property {AbortSignal} [signal]
 * @property {number} [timeoutMs]
 * @property {boolean} [idempotent] whether it may run twice; as the controller says, unless given
 * @property {import("./errors.js").Site} [site]
 * @property {(result: any) => void} [onResult] sees the result before any later line is read
 * @property {(result: any) => void} [onLateResult] given, a call that is aborted after it was sent isn't cancelled: its
 *   result comes here
 * @property {{ by: Error, times: number }} [refused] the daemon of this connection has not begun it, since it stops
 */

/**
 * @typedef {object} SessionOptions
 * @property {(wanted: boolean) => Promise<import("node:net").Socket>} dial makes a connection; `wanted` where a call
 *   waits for it, which is worth starting a daemon for
 * @property {number} patienceMs how long a call waits for a connection
 * @property {boolean} [greets] whether the daemon is to say what it is on the first connection, too
 * @property {(status: any) => void} [check] throws if it is not the daemon that was meant
 * @property {boolean} [remembers] whether properties that were set here are set again in a daemon that lost them
 * @property {() => Promise<void>} [onFinished] what is left to do after the connection is closed, in good order
 */

/** @type {CallOptions} */
const NO_OPTIONS = {};

/**
 * A connection that comes back.
 *
 * `idle` has no connection and looks for none; a call starts one. `dialing` is at it, `waiting` will be after a
 * back-off, `greeting` has one and waits for the daemon's first word, `open` has one for calls, and `closed` is for good.
 *
 * The socket of a daemon that is about to end takes connections until the last moment, and what is written there is
 * lost. So where that can be, after a lost connection for one, calls are kept until the daemon has answered a question
 * of the session's own; by that answer it is also known which properties it has lost.
 *
 * A lost connection keeps what was not written, and of what was written only what may run twice, and what the daemon has
 * not begun, since it stops (`Calls`). It is made
 * again at once if a call waits for it, after a back-off if only subscriptions do, and else by the next call. A try that
 * fails with NotReached is made again; any other failure (an unsafe folder, a daemon that can't start) is the answer of
 * all queued calls, since waiting mends none of them.
 */
export class Session {
  /** @type {"idle" | "dialing" | "waiting" | "greeting" | "open" | "closed"} */
  #state = "idle";
  #options;
  #calls = new Calls(() => this.#keepAlive());
  #outgoing = new Outgoing(this.#calls);
  #subscriptions = new Subscriptions((method, params) => this.tell(method, params));
  /** @type {Properties | undefined} */
  #properties;
  /** @type {Wire | undefined} */
  #wire;
  /** @type {Greeting | undefined} of the present connection */
  #greeting;
  /** Whether the next connection begins with a question. */
  #greets;
  #wasThere = false;
  #failures = 0;
  #stillborn = 0;
  /** @type {NodeJS.Timeout | undefined} the back-off's */
  #timer;
  /** @type {NodeJS.Timeout | undefined} of the calls that are unclear */
  #unclear;
  /** @type {import("./errors.js").BaskdError | undefined} what the daemon said before it closed */
  #refusal;
  #holds = 0;
  /** Nothing is waited for any more but what is under way. */
  #hastened = false;
  /** @type {Promise<void> | undefined} */
  #finishing;
  /** @type {{ resolve: () => void, reject: (error: Error) => void } | undefined} who waits for the first connection */
  #opening;

  /** @param {SessionOptions} options */
  constructor(options) {
    this.#options = options;
    this.#properties = options.remembers ? new Properties() : undefined;
    this.#greets = options.greets ?? false;
  }

  /** The first connection, whose failure is the caller's to know. */
  async open() {
    const opened = new Promise((/** @type {(value?: undefined) => void} */ resolve, reject) => {
      this.#opening = { resolve, reject };
    });
    void this.#dial(true);
    try {
      await opened;
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
    const { signal, timeoutMs, idempotent, site = affordableSite(), onResult, onLateResult, refused } = options;
    if (signal?.aborted) return Promise.reject(new AbortError(signal.reason));
    return new Promise((resolve, reject) => {
      const call = this.#calls.make(method, params, { resolve, reject, site, onResult, onLateResult, idempotent });
      if (signal || timeoutMs !== undefined) {
        call.watch = watched(signal, timeoutMs, method, (error) => {
          if (this.#calls.giveUp(call, error)) this.tell("$/cancelRequest", { id: call.id });
        });
      }
      const properties = this.#properties;
      if (properties && call.method === "setProperty") {
        const { text } = call;
        call.onResult = () => properties.wasSet(text);
      }
      if (refused) {
        call.refusals = refused.times;
        call.refusedBy = refused.by;
        if (this.#wire) {
          this.#calls.park(call);
          return;
        }
      }
      this.#calls.add(call);
      if (this.#state === "open") this.#release();
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
      this.#calls.addStanding([this.#subscriptionCall(wish)]);
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

  /**
   * From now on a connection that is lost is not made again, and calls that wait for one get a last try at once: who is
   * about to leave doesn't wait for a daemon that is away.
   */
  hasten() {
    this.#hastened = true;
    this.#calls.final = true;
    if (this.#state === "waiting" && this.#calls.queued > 0) void this.#dial(true);
  }

  /** Whether no other daemon will be asked. */
  get isLeaving() {
    return this.#hastened || this.#state === "closed";
  }

  /** Refuses later calls, waits for the answers of earlier ones, and closes. */
  finish() {
    if (this.#finishing) return this.#finishing;
    this.hasten();
    this.#finishing = this.#calls.drained().then(() => {
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
    clearTimeout(this.#unclear);
    this.#greeting?.end();
    const closed = new Closed("the connection was closed");
    this.#opened(closed);
    this.#calls.failQueued(() => closed);
    this.#calls.clear(undefined);
    this.#calls.lost(closed, false);
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
      if (this.#closedMeanwhile()) return;
      // A call that came meanwhile is worth more than this try was.
      if (!wanted && this.#calls.queued > 0) void this.#dial(true);
      else this.#notReached(/** @type {Error} */ (error));
    }
  }

  #closedMeanwhile() {
    return this.#state === "closed";
  }

  /** @param {Error} error */
  #notReached(error) {
    const now = Date.now();
    const mends = error instanceof NotReached;
    // Who never found a daemon doesn't wait for one to come, unless it is there and busy.
    const isAway = this.#wasThere || /** @type {any} */ (error.cause)?.code === "EAGAIN";
    const patienceMs = isAway && !this.#hastened ? this.#options.patienceMs : 0;
    this.#state = "idle";
    this.#opened(error);
    this.#calls.clear(undefined);
    this.#calls.failQueued((call) => (mends && now - call.madeAt < patienceMs ? undefined : error));
    if (!this.#hastened && (this.#calls.queued > 0 || this.#subscriptions.any)) this.#later();
  }

  #later() {
    this.#state = "waiting";
    this.#timer = setTimeout(() => this.#dial(this.#calls.queued > 0), backoff(this.#failures++));
    this.#keepAlive();
  }

  /** @param {import("node:net").Socket} socket */
  #attach(socket) {
    this.#refusal = undefined;
    const wire = new Wire(socket, {
      onResult: (id, result) => {
        this.#failures = 0;
        this.#calls.result(id, result);
      },
      onRun: (subscription, run) => {
        if (run.request !== undefined) this.#calls.gave(run.request);
        this.#subscriptions.run(subscription, run);
      },
      onMessage: (message) => this.#read(message),
      onDrain: () => this.#outgoing.flush(),
      onClose: (error) => this.#lost(wire, error),
    });
    this.#wire = wire;
    this.#wasThere = true;
    const { check } = this.#options;
    const parts = { calls: this.#calls, outgoing: this.#outgoing, properties: this.#properties, check };
    this.#greeting = new Greeting(parts);
    if (this.#greets) {
      this.#state = "greeting";
      this.#calls.held = true;
      // The first request of all, for that is what a daemon answers that wants none.
      void this.#greeting.hear(
        (late) => wire.destroy(late),
        (refusal) => (refusal ? this.#refuse(wire, refusal) : this.#serve()),
      );
    }
    this.#calls.addStanding(this.#subscriptions.wanted.map((wish) => this.#subscriptionCall(wish)));
    this.#outgoing.use(wire);
    if (!this.#greets) this.#serve();
    this.#greets = true;
    this.#keepAlive();
  }

  /**
   * @param {Wire} wire
   * @param {import("./errors.js").BaskdError} refusal
   */
  #refuse(wire, refusal) {
    this.#refusal = refusal;
    wire.destroy(refusal);
  }

  /** Calls go out from now on. */
  #serve() {
    this.#state = "open";
    this.#stillborn = 0;
    this.#opened();
    this.#calls.held = false;
    if (this.#calls.waiting) this.#release();
    if (this.#calls.unclear > 0) void this.#greeting?.clarify();
  }

  /** The calls that wait go out, once the daemon has what it has lost. */
  #release() {
    if (this.#greeting?.isLacking) void this.#greeting.restore();
    else this.#outgoing.schedule();
  }

  /** @param {Error} [error] why not */
  #opened(error) {
    const opening = this.#opening;
    this.#opening = undefined;
    if (error) opening?.reject(error);
    else opening?.resolve();
  }

  /** @param {import("./subscriptions.js").Wish} wish */
  #subscriptionCall(wish) {
    this.#subscriptions.asked(wish);
    return this.#calls.make(wish.method, wish.params, {
      standing: true,
      resolve: (id) => this.#subscriptions.opened(wish, id),
      reject: (error) => {
        // That is about the connection, which is closed, and tried again.
        if (error?.name !== FULL) this.#subscriptions.refused(wish, error);
      },
    });
  }

  /** @param {any} message */
  #read(message) {
    // A daemon that refuses each new connection has not answered: the waits go on growing.
    if (!message?.error) this.#failures = 0;
    if (typeof message?.method === "string") {
      const request = message.params?.result?.request;
      if (request !== undefined) this.#calls.gave(request);
      this.#subscriptions.deliver(message.params);
    } else if (message?.id === null && message.error) {
      // It answers none of our calls by name, so one of them would wait for ever: give up this connection.
      if (this.#wire) this.#refuse(this.#wire, fromWire(message.error));
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
    this.#greeting?.end();
    this.#outgoing.use(undefined);
    if (this.#state === "closed") return;
    const wasGreeting = this.#state === "greeting";
    this.#state = "idle";
    const refusal = wasGreeting || this.#refusal?.name === "Forbidden" ? this.#refusal : undefined;
    if (!wasGreeting) this.#calls.clear(undefined);
    this.#calls.lost(error, !this.#hastened && !refusal);
    if (!wasGreeting && this.#calls.unclear > 0) this.#limitDoubt();
    this.#subscriptions.lost(error);
    if (refusal) this.#refused(refusal);
    else if (wasGreeting) this.#died(error);
    else if (this.#hastened)
      this.#notReached(new NotReached("the connection to baskd was lost before the call was sent"));
    else if (this.#calls.waiting) void this.#dial(true);
    else if (this.#subscriptions.any) this.#later();
  }

  /** @param {import("./errors.js").BaskdError} refusal the answer of all that wait */
  #refused(refusal) {
    if (refusal.name !== FULL) this.#subscriptions.refuseAll(refusal);
    this.#notReached(refusal);
  }

  /** However long it takes to get another connection, or a word on it: who may have to try otherwise is told soon. */
  #limitDoubt() {
    clearTimeout(this.#unclear);
    this.#unclear = setTimeout(() => this.#calls.clear(undefined), UNCLEAR_MS);
    // Calls keep the process alive by what they wait for.
    this.#unclear.unref();
  }

  /**
   * The connection was lost before a word was said on it: it was that of a daemon on its way out, most likely.
   * @param {Error | undefined} cause
   */
  #died(cause) {
    if (++this.#stillborn < MOST_STILLBORN && (this.#calls.waiting || this.#opening)) void this.#dial(true);
    else this.#notReached(new NotReached(`the baskd daemon gave no answer${cause ? `: ${cause.message}` : ""}`, cause));
  }

  /** A call without an answer keeps the process alive, and so does a hold. A connection that there is does not. */
  #keepAlive() {
    const on = this.#calls.busy || this.#holds > 0 || this.#opening !== undefined;
    this.#wire?.keepAlive(on);
    if (on) this.#timer?.ref();
    else this.#timer?.unref();
  }
}
