/** How many calls have a place of their own; a power of two. */
const PLACES = 1024;

/**
 * Calls by their ids, which are given in order. A Map would be made anew with every hundred calls that come and go, and
 * what it was before refers to what it became: a busy program's short-lived calls would all live until the next full
 * garbage collection. So a call is kept at a place that follows from its id, and only one that is still there when that
 * place's turn comes again is kept in a Map.
 *
 * @template {{ id: number }} T
 */
export class Pending {
  /** @type {(T | undefined)[]} */
  #places = new Array(PLACES).fill(undefined);
  /** @type {Map<number, T>} */
  #slow = new Map();

  /** @param {T} call */
  add(call) {
    const place = call.id % PLACES;
    const slow = this.#places[place];
    if (slow !== undefined) this.#slow.set(slow.id, slow);
    this.#places[place] = call;
  }

  /** @param {number} id */
  has(id) {
    return this.get(id) !== undefined;
  }

  /** @param {number} id */
  get(id) {
    const call = this.#places[id % PLACES];
    return call?.id === id ? call : this.#slow.get(id);
  }

  /**
   * @param {number} id
   * @returns {T | undefined} the call, which is no longer pending
   */
  take(id) {
    const place = id % PLACES;
    const call = this.#places[place];
    if (call?.id === id) {
      this.#places[place] = undefined;
      return call;
    }
    const slow = this.#slow.get(id);
    if (slow !== undefined) this.#slow.delete(id);
    return slow;
  }

  /** @returns {T[]} all calls, in the order of their ids, none of which is pending any longer */
  takeAll() {
    const calls = [...this.#slow.values()];
    for (const call of this.#places) if (call !== undefined) calls.push(call);
    this.#places.fill(undefined);
    this.#slow.clear();
    return calls.sort((one, other) => one.id - other.id);
  }
}
