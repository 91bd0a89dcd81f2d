import { asyncDispose } from "./lib/dispose.js";
import { Closed, callSite } from "./lib/errors.js";
import { Instance } from "./lib/instance.js";
import { tellGap, tellListener, tellRefused } from "./lib/listeners.js";
import { paramsOf, Routed } from "./lib/names.js";
import { Session } from "./lib/session.js";

/** How long a call waits for a connection that was lost, once a daemon could be started and still none answers. */
const PATIENCE_MS = 30_000;

/**
 * @typedef {object} Waiting a call that is not yet sent
 * @property {string} method
 * @property {object | undefined} params
 * @property {import("./lib/errors.js").Site} site
 * @property {(result: any) => void} resolve
 * @property {(error: unknown) => void} reject
 */

/**
 * @typedef {object} Listener
 * @property {(data: any) => void} callback
 * @property {((gap: any) => void) | undefined} onGap told that messages may be missing
 * @property {((error: Error) => void) | undefined} onError told that none will come
 */

/**
 * A Python Controller as an object: `await chat.increment({ by: 5 })` calls its method `increment`. The controller
 * lives in a daemon, which is started if none answers, and outlives this object and its process.
 */
export default class Bindings extends Routed {
  #session;
  /** @type {Waiting[]} calls that wait for the first properties to be set: they must not meet a half-made controller */
  #sendQueue = [];
  /** @type {Promise<void> | undefined} until the first properties are set, or one was refused */
  #initializing;
  /** @type {unknown} why a first property was refused, until someone has been told */
  #failure;
  /** @type {Set<Listener>} */
  #listeners = new Set();
  #unsubscribe = () => {};
  /** @type {Promise<void> | undefined} */
  #ending;

  /**
   * @param {Record<string, unknown>} [initialProperties] set before anything else is called
   * @param {import("./lib/instance.js").InstanceOptions} [options]
   */
  constructor(initialProperties = {}, options = {}) {
    super(
      (method, chat) =>
        (...args) =>
          chat.callMethod(method, ...args),
    );
    const instance = new Instance(options, { finds: true });
    this.#session = new Session({
      ...instance.way,
      patienceMs: PATIENCE_MS,
      remembers: true,
    });
    this.#initialize(initialProperties);
    // Python gets warm while the program does something else, even if its first call is yet to come.
    this.#session.start();
  }

  /**
   * @param {string} name
   * @param {unknown} value
   * @returns {Promise<any>} the value, as Python has it
   */
  setProperty(name, value) {
    return this.callMethod("setProperty", { name, value: value ?? null });
  }

  /**
   * @param {string} name
   * @returns {Promise<any>}
   */
  getProperty(name) {
    return this.callMethod("getProperty", { name });
  }

  /**
   * Hands `callback` what this object's calls send while they run.
   * @param {(data: any) => void} callback
   * @param {{ onGap?: (gap: any) => void, onError?: (error: Error) => void }} [options]
   * @returns {() => void} ends it
   */
  onMessage(callback, { onGap, onError } = {}) {
    if (this.#listeners.size === 0) this.#subscribe();
    // Added twice, a callback is called twice, and removed one by one.
    const listener = { callback, onGap, onError };
    this.#listeners.add(listener);
    return () => {
      if (this.#listeners.delete(listener) && this.#listeners.size === 0) this.#unsubscribe();
    };
  }

  /**
   * Calls a method by its name, those too that are members here.
   * @param {string} method
   * @param {...any} args one object of named params, or positional ones
   * @returns {Promise<any>}
   */
  callMethod(method, ...args) {
    if (this.#ending) return Promise.reject(new Closed(`${method} was called after end(): make a new Bindings`));
    const site = callSite();
    return new Promise((resolve, reject) => {
      const params = paramsOf(args);
      // What waits is what was said, whatever the caller does to the object meanwhile.
      const kept = this.#initializing && params ? JSON.parse(JSON.stringify(params)) : params;
      this.#sendQueue.push({ method, params: kept, site, resolve, reject });
      this.processSendQueue();
    });
  }

  /** Sends what waits, in order. It is called by itself: there is no need to. */
  processSendQueue() {
    if (this.#initializing) return;
    const waiting = this.#sendQueue.splice(0);
    const failure = waiting.length > 0 ? this.#takeFailure() : undefined;
    for (const { method, params, site, resolve, reject } of waiting) {
      if (failure) reject(failure);
      else this.#session.call(method, params, { site }).then(resolve, reject);
    }
  }

  /**
   * Refuses later calls, waits for the answers and messages of earlier ones, and disconnects.
   * @returns {Promise<void>} the same one each time
   */
  end() {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  async [asyncDispose]() {
    await this.end();
  }

  async #end() {
    this.#session.hasten();
    await this.#initializing;
    await this.#session.finish();
    const failure = this.#takeFailure();
    if (failure) throw failure;
  }

  /** @param {Record<string, unknown>} properties */
  #initialize(properties) {
    const site = callSite();
    const set = Object.entries(properties).map(([name, value]) =>
      this.#session.call("setProperty", { name, value: value ?? null }, { site, idempotent: true }),
    );
    if (set.length === 0) return;
    this.#initializing = Promise.allSettled(set).then((outcomes) => {
      const refused = outcomes.find((outcome) => outcome.status === "rejected");
      this.#failure = refused?.reason;
      this.#initializing = undefined;
      this.processSendQueue();
    });
  }

  /** Whoever is told of a failure is the last to be: the next call is the program's answer to it. */
  #takeFailure() {
    const failure = this.#failure;
    this.#failure = undefined;
    return failure;
  }

  #subscribe() {
    this.#unsubscribe = this.#session.subscribe({
      method: "messages.subscribe",
      params: { scope: "own" },
      unsubscribe: "messages.unsubscribe",
      onItem: (message) => {
        if ("data" in message) this.#deliver(message.data);
        else this.#tellGap(message);
      },
      onRun: ({ values }) => {
        for (const data of values) this.#deliver(data);
      },
      onRefused: (error) => {
        const listeners = [...this.#listeners];
        this.#listeners.clear();
        const told = listeners.filter(({ onError }) => onError);
        for (const { onError } of told) tellRefused(onError, error);
        if (told.length < listeners.length) tellRefused(undefined, error);
      },
    });
  }

  /** @param {any} gap */
  #tellGap(gap) {
    const told = [...this.#listeners].filter(({ onGap }) => onGap);
    for (const { onGap } of told) tellGap(onGap, gap);
    // Once is enough for all that have no ear for it.
    if (told.length < this.#listeners.size) tellGap(undefined, gap);
  }

  /** @param {any} data */
  #deliver(data) {
    for (const { callback } of [...this.#listeners]) tellListener(callback, data);
  }
}
