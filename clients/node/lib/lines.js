const NEWLINE = 10;

/**
 * Takes whole lines out of a stream of chunks. A chunk is searched once, and the pieces of a long line are joined once,
 * when its end is there: a reply of many megabytes costs no more than its length.
 */
export class WholeLines {
  /** @type {Buffer[]} pieces of the line whose end has not come yet */
  #pieces = [];

  /**
   * @param {Buffer} chunk whose memory may be used again afterwards
   * @returns {string} the lines that have ended, each with its end
   */
  push(chunk) {
    const end = chunk.lastIndexOf(NEWLINE) + 1;
    if (end === 0) {
      this.#pieces.push(Buffer.from(chunk));
      return "";
    }
    let text;
    if (this.#pieces.length === 0) {
      text = chunk.toString("utf8", 0, end);
    } else {
      this.#pieces.push(end === chunk.length ? chunk : chunk.subarray(0, end));
      text = Buffer.concat(this.#pieces).toString("utf8");
      this.#pieces = [];
    }
    if (end < chunk.length) this.#pieces.push(Buffer.from(chunk.subarray(end)));
    return text;
  }
}

/** The same, line by line. */
export class LineSplitter {
  #lines = new WholeLines();
  /** @type {(line: string) => void} */
  #onLine;

  /** @param {(line: string) => void} onLine */
  constructor(onLine) {
    this.#onLine = onLine;
  }

  /** @param {Buffer} chunk */
  push(chunk) {
    const lines = this.#lines.push(chunk).split("\n");
    // What follows the last end is nothing.
    lines.pop();
    for (const line of lines) this.#onLine(line);
  }
}
