/**
 * @typedef {object} Wish a subscription that is to be open on every connection
 * @property {string} method
 * @property {object} params
 * @property {string} unsubscribe the method that ends it
 * @property {(event: any) => void} onItem `{ restarted: true }` where it was opened again: what was sent between is lost
 * @property {(run: import("./incoming.js").Run) => void} onRun
 *
 * @typedef {object} Sink who gets what one subscription brings
 * @property {(event: any) => void} onItem an event as the daemon has it
 * @property {(run: import("./incoming.js").Run) => void} onRun several items
 * @property {(cause: Error | undefined) => void} [onLost] the connection is gone, and the subscription with it
 */

/** The subscriptions of the present connection, and those that every new connection shall have. */
export class Subscriptions {
  /** @type {Map<number | string, Sink>} */
  #sinks = new Map();
  /** @type {Map<Wish, number | string | undefined>} each with its id on this connection, once that is known */
  #wishes = new Map();
  /** @type {WeakSet<Wish>} those that were open before */
  #known = new WeakSet();
  #tell;

  /** @param {(method: string, params: unknown[]) => void} tell sends a notification to the daemon */
  constructor(tell) {
    this.#tell = tell;
  }

  get wanted() {
    return [...this.#wishes.keys()];
  }

  /**
   * @param {Wish} wish
   * @returns {() => void} ends it
   */
  want(wish) {
    this.#wishes.set(wish, undefined);
    return () => {
      const id = this.#wishes.get(wish);
      this.#wishes.delete(wish);
      if (id !== undefined) this.#end(wish, id);
    };
  }

  /**
   * @param {Wish} wish
   * @param {number | string} id
   */
  opened(wish, id) {
    if (!this.#wishes.has(wish)) {
      this.#end(wish, id);
      return;
    }
    this.#wishes.set(wish, id);
    this.#sinks.set(id, wish);
    if (this.#known.has(wish)) wish.onItem({ restarted: true });
    this.#known.add(wish);
  }

  /**
   * @param {number | string} id
   * @param {Sink} sink
   */
  listen(id, sink) {
    this.#sinks.set(id, sink);
  }

  /**
   * @param {number} id
   * @param {import("./incoming.js").Run} run
   */
  run(id, run) {
    this.#sinks.get(id)?.onRun(run);
  }

  /**
   * The params of a subscription's notification. One that is unknown is the rest of a subscription that was ended here.
   * @param {any} params
   */
  deliver(params) {
    const id = params?.subscription;
    const sink = this.#sinks.get(id);
    if (!sink) return;
    if ("result" in params) sink.onItem(params.result);
    else this.#sinks.delete(id);
  }

  /** @param {Error | undefined} cause */
  lost(cause) {
    const sinks = this.#sinks;
    this.#sinks = new Map();
    for (const wish of this.#wishes.keys()) this.#wishes.set(wish, undefined);
    for (const sink of sinks.values()) sink.onLost?.(cause);
  }

  /**
   * @param {Wish} wish
   * @param {number | string} id
   */
  #end(wish, id) {
    this.#sinks.delete(id);
    this.#tell(wish.unsubscribe, [id]);
  }
}
