/**
 * @typedef {object} Wish a subscription that is to be open on every connection
 * @property {string} method
 * @property {object} [params]
 * @property {string} unsubscribe the method that ends it
 * @property {(event: any) => void} onItem an event as the daemon has it, or `{ restarted: true }`: the connection was lost
 *   meanwhile, and what came then was missed
 * @property {(run: import("./incoming.js").Run) => void} onRun
 * @property {(error: Error) => void} onRefused the daemon will not have it, so it has ended
 *
 * @typedef {object} Sink who gets what one subscription brings
 * @property {(event: any) => void} onItem an event as the daemon has it
 * @property {(run: import("./incoming.js").Run) => void} onRun several items
 * @property {(cause: Error | undefined) => void} [onLost] the connection is gone, and the subscription with it
 *
 * @typedef {object} State
 * @property {number | string | undefined} id on this connection, once that is known
 * @property {boolean} asked for on this connection
 * @property {boolean} missed whether something may have been missed since it was last open
 */

/** The subscriptions of the present connection, and those that every new connection shall have. */
export class Subscriptions {
  /** @type {Map<number | string, Sink>} */
  #sinks = new Map();
  /** @type {Map<Wish, State>} */
  #wishes = new Map();
  #tell;

  /** @param {(method: string, params: unknown[]) => void} tell sends a notification to the daemon */
  constructor(tell) {
    this.#tell = tell;
  }

  /** Whether any is to be kept. */
  get any() {
    return this.#wishes.size > 0;
  }

  /** Those to be asked for on a new connection. */
  get wanted() {
    return [...this.#wishes.keys()];
  }

  /**
   * @param {Wish} wish
   * @returns {() => void} ends it
   */
  want(wish) {
    this.#wishes.set(wish, { id: undefined, asked: false, missed: false });
    return () => {
      const id = this.#wishes.get(wish)?.id;
      this.#wishes.delete(wish);
      if (id !== undefined) this.#end(wish, id);
    };
  }

  /** @param {Wish} wish that is asked for now */
  asked(wish) {
    const state = this.#wishes.get(wish);
    if (state) state.asked = true;
  }

  /**
   * @param {Wish} wish
   * @param {number | string} id
   */
  opened(wish, id) {
    const state = this.#wishes.get(wish);
    if (!state) {
      this.#end(wish, id);
      return;
    }
    const { missed } = state;
    state.id = id;
    state.missed = false;
    this.#sinks.set(id, wish);
    if (missed) wish.onItem({ restarted: true });
  }

  /**
   * @param {Wish} wish
   * @param {Error} error
   */
  refused(wish, error) {
    if (this.#wishes.delete(wish)) wish.onRefused(error);
  }

  /** @param {Error} error why there will be no connection to have any on */
  refuseAll(error) {
    for (const wish of this.wanted) this.refused(wish, error);
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
    for (const state of this.#wishes.values()) {
      state.id = undefined;
      state.missed ||= state.asked;
      state.asked = false;
    }
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
