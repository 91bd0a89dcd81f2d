const NEWLINE = 10;

/**
 * Cuts a stream of chunks into lines. A chunk is searched once, and the pieces of a long line are joined once, when
 * its end is there: a reply of many megabytes costs no more than its length.
 */
export class LineSplitter {
  /** @type {Buffer[]} pieces of the line whose end has not come yet */
  #pieces = [];
  /** @type {(line: string) => void} */
  #onLine;

  /** @param {(line: string) => void} onLine */
  constructor(onLine) {
    this.#onLine = onLine;
  }

  /** @param {Buffer} chunk */
  push(chunk) {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start);
      if (end === -1) break;
      if (this.#pieces.length === 0) {
        this.#onLine(chunk.toString("utf8", start, end));
      } else {
        this.#pieces.push(chunk.subarray(start, end));
        const line = Buffer.concat(this.#pieces).toString("utf8");
        this.#pieces = [];
        this.#onLine(line);
      }
      start = end + 1;
    }
    if (start < chunk.length) this.#pieces.push(start === 0 ? chunk : chunk.subarray(start));
  }
}
