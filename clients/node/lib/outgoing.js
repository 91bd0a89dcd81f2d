/** Bytes given to the socket at once. What follows waits in `Calls`, where a lost connection can't lose it. */
const WRITE_AT_ONCE = 64 * 1024;

/** The writing half of a session: all that is said in one turn of the event loop goes out in one write. */
export class Outgoing {
  #calls;
  /** @type {import("./wire.js").Wire | undefined} */
  #wire;
  /** @type {string} notifications about calls and streams of this connection, which end with it */
  #notes = "";
  #scheduled = false;
  #flush = () => this.flush();

  /** @param {import("./calls.js").Calls} calls */
  constructor(calls) {
    this.#calls = calls;
  }

  /** @param {import("./wire.js").Wire | undefined} wire where to write from now on; nothing when it is lost */
  use(wire) {
    this.#wire = wire;
    this.#notes = "";
    this.schedule();
  }

  /**
   * Without a connection there is nothing to tell.
   * @param {string} method
   * @param {object} params
   */
  note(method, params) {
    if (!this.#wire) return;
    this.#notes += `${JSON.stringify({ jsonrpc: "2.0", method, params })}\n`;
    this.schedule();
  }

  schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    process.nextTick(this.#flush);
  }

  flush() {
    this.#scheduled = false;
    const wire = this.#wire;
    if (!wire) return;
    // Notes are about what was sent before, and few: they go first, and even where the socket is full.
    let text = this.#notes;
    this.#notes = "";
    while (!wire.full && this.#calls.ready) {
      const next = this.#calls.next(WRITE_AT_ONCE);
      // A connection that turns out to be lost took nothing: the calls stay for the next one.
      if (!wire.write(text + next.text)) return;
      this.#calls.sent(next.count);
      text = "";
    }
    if (text) wire.write(text);
  }
}
