import { asyncDispose } from "./dispose.js";
import { tellListener } from "./listeners.js";
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
    const wrapped = { method, params: checked, timeout_ms: timeoutMs };
    return this.#session.call("rpc.call", wrapped, { signal, timeoutMs, idempotent, called: method });
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
   * @param {{ scope?: "own" | "all", method?: string, keepAlive?: boolean }} [options]
   * @returns {() => void}
   */
  onMessage(callback, { scope = "own", method, keepAlive = false } = {}) {
    let ended = false;
    const unsubscribe = this.#session.subscribe({
      method: "messages.subscribe",
      params: { scope, method },
      unsubscribe: "messages.unsubscribe",
      onItem: (message) => tellListener(callback, message.data, message),
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
    const release = keepAlive ? this.#session.hold() : () => {};
    return () => {
      ended = true;
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
