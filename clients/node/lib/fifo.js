/** A queue whose `take` costs the same however long it is, as Array's shift does not. */
export class Fifo {
  /** @type {any[]} */
  #entries = [];
  #taken = 0;

  get size() {
    return this.#entries.length - this.#taken;
  }

  /** @param {any} entry */
  add(entry) {
    this.#entries.push(entry);
  }

  take() {
    const entry = this.#entries[this.#taken];
    this.#entries[this.#taken++] = undefined;
    if (this.#taken * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#taken);
      this.#taken = 0;
    }
    return entry;
  }
}
