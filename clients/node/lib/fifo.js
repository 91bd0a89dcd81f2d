/** How much is taken before the rest is moved up. */
const MOVE_AFTER = 1024;

/** A queue whose `take` costs the same however long it is, as Array's shift does not. */
export class Fifo {
  /** @type {any[]} */
  #entries = [];
  #taken = 0;

  get size() {
    return this.#entries.length - this.#taken;
  }

  /** @param {any[]} entries which are the queue's from here on */
  addAll(entries) {
    if (this.size === 0) {
      this.#entries = entries;
      this.#taken = 0;
    } else {
      for (const entry of entries) this.#entries.push(entry);
    }
  }

  take() {
    const entry = this.#entries[this.#taken];
    this.#entries[this.#taken++] = undefined;
    if (this.#taken >= MOVE_AFTER && this.#taken * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#taken);
      this.#taken = 0;
    }
    return entry;
  }
}
