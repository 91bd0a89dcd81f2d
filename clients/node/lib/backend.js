import { asyncDispose } from "./dispose.js";
import { tellGap, tellListener, tellRefused } from "./listeners.js";
import { checkedParams, onlyMethods, paramsOf, Routed } from "./names.js";
import { ResultStream } from "./stream.js";

/** The daemon's own methods, which take no `rpc.call` around them. */
const DAEMONS_OWN = /^(rpc\.|stream\.|messages\.|daemon\.|logs\.|\$\/)/;

/**
 * A connected daemon. Names that aren't members here are methods of the controller: `await backend.increment({ by: 5 })`.
 */
export class Backend extends Routed {
  #session;
  /** Methods by name, those too that are called as a member here: `backend.methods.close()`. */
  methods;
  /** Methods as streams of their partial results: `backend.stream.search({ text }, { signal })`. */
  stream;

  /** @param {import("./session.js").Session} session */
  constructor(session) {
    const route =
      (/** @type {string} */ method) =>
      (/** @type {any[]} */ ...args) =>
        session.call(method, paramsOf(args));
    super(route);
    this.#session = session;
    this.methods = onlyMethods(route);
    this.stream = onlyMethods((method) => (params, options = {}) => {
      return new ResultStream(session, method, checkedParams(params), options);
    });
  }

  /**
   * @param {string} method
   * @param {unknown} [params] an object of named params, or an array of positional ones
   * @param {{ signal?: AbortSignal, timeoutMs?: number, idempotent?: boolean }} [options]
   * @returns {Promise<any>}
   */
  call(method, params, { signal, timeoutMs, idempotent } = {}) {
    let checked;
    try {
      checked = checkedParams(params);
    } catch (error) {
      return Promise.reject(error);
    }
    if (timeoutMs === undefined || DAEMONS_OWN.test(method)) {
      return this.#session.call(method, checked, { signal, timeoutMs, idempotent });
    }
    const withTime = { method, params: checked, timeout_ms: timeoutMs };
    return this.#session.call("rpc.call", withTime, { signal, timeoutMs, idempotent });
  }

  /**
   * @param {string} name
   * @param {unknown} value
   */
  setProperty(name, value) {
    return this.call("setProperty", { name, value: value ?? null });
  }

  /** @param {string} name */
  getProperty(name) {
    return this.call("getProperty", { name });
  }

  /**
   * @param {string} name
   * @param {unknown} value
   */
  set(name, value) {
    return this.setProperty(name, value);
  }

  /** @param {string} name */
  get(name) {
    return this.getProperty(name);
  }

  /** What the daemon says of itself: PROTOCOL.md, `daemon.status`. */
  status() {
    return this.call("daemon.status");
  }

  /**
   * @param {(data: any, message: any) => void} callback
   * @param {ListenOptions & { scope?: "own" | "all", method?: string, onGap?: (gap: any) => void }} [options]
   * @returns {() => void}
   */
  onMessage(callback, { scope = "own", method, onGap, ...options } = {}) {
    let ended = false;
    const end = this.#listen(options, {
      method: "messages.subscribe",
      params: { scope, method },
      unsubscribe: "messages.unsubscribe",
      onItem(message) {
        if ("data" in message) tellListener(callback, message.data, message);
        else tellGap(onGap, message);
      },
      onRun({ values, call, request, method }) {
        for (const data of values) {
          if (ended) break;
          tellListener(
            callback,
            data,
            request === undefined ? { call, method, data } : { call, request, method, data },
          );
        }
      },
    });
    return () => {
      ended = true;
      end();
    };
  }

  /**
   * The daemon's log: its own lines, and all that is printed by Python; with `lines`, the last ones first.
   * @param {(line: any) => void} callback
   * @param {ListenOptions & { lines?: number, onLive?: () => void }} [options]
   * @returns {() => void}
   */
  onLog(callback, { lines, onLive, ...options } = {}) {
    return this.#listen(options, {
      method: "logs.subscribe",
      params: lines === undefined ? undefined : { lines },
      unsubscribe: "logs.unsubscribe",
      onItem(line) {
        if ("live" in line) onLive?.();
        else tellListener(callback, line);
      },
      onRun() {},
    });
  }

  /**
   * @typedef {object} ListenOptions
   * @property {boolean} [keepAlive] whether listening keeps the process alive
   * @property {(error: Error) => void} [onError] the daemon will not have it, so it has ended
   *
   * @param {ListenOptions} options
   * @param {Omit<import("./subscriptions.js").Wish, "onRefused">} wish
   */
  #listen({ keepAlive = false, onError }, wish) {
    const unsubscribe = this.#session.subscribe({
      ...wish,
      onRefused(error) {
        release();
        tellRefused(onError, error);
      },
    });
    const release = keepAlive ? this.#session.hold() : () => {};
    return () => {
      unsubscribe();
      release();
    };
  }

  /** Refuses later calls, waits for the answers of earlier ones, cancels open streams, and disconnects. */
  close() {
    return this.#session.finish();
  }

  async [asyncDispose]() {
    await this.close();
  }
}
