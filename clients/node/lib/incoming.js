/**
 * What the lines of a connection say. Most are one of two kinds, answers with a result and the items of a subscription,
 * and are written by the daemon in always the same way; of those only the values are parsed, many at once, since a call
 * of JSON.parse costs as much as a small value does. All others are parsed whole, and so is what only looked like one.
 */

const ANSWER = '{"jsonrpc":"2.0","id":';
const RESULT = ',"result":';

/** How an item's line begins, up to its value. It ends in three brackets. */
const ITEM =
  /\{"jsonrpc":"2\.0","method":"(?:stream|messages)\.item","params":\{"subscription":(\d+),"result":\{(?:"item":|"call":(\d+)(?:,"request":(\d+))?,"method":"([^"\\]*)","data":)/y;
const ITEM_END = "}}}";

/** Values longer than this are parsed by themselves: to put them together would cost more than it saves. */
const LONG = 2048;

const DIGIT_0 = 48;
const DIGIT_9 = 57;

/**
 * @typedef {object} Run items of one subscription, in order
 * @property {any[]} values
 * @property {number | undefined} call of messages, the call that sent them
 * @property {number | undefined} request
 * @property {string | undefined} method
 *
 * @typedef {object} IncomingEvents
 * @property {(id: number, result: any) => void} onResult
 * @property {(subscription: number, run: Run) => void} onRun
 * @property {(message: any) => void} onMessage any other
 * @property {(line: string) => void} onNonsense a line that is no JSON
 */

export class Incoming {
  #events;
  #stopped = false;

  /** @param {IncomingEvents} events called in the order of the lines */
  constructor(events) {
    this.#events = events;
  }

  /** What follows is not read any more, even of the text that is being read. */
  stop() {
    this.#stopped = true;
  }

  /** @param {string} text whole lines, each with its end */
  read(text) {
    let at = 0;
    while (at < text.length && !this.#stopped) {
      if (stands(ANSWER, text, at)) at = this.#answers(text, at);
      else at = this.#items(text, at) || this.#line(text, at);
    }
  }

  /**
   * @param {string} text
   * @param {number} start of an answer
   * @returns {number} where the first line begins that was not read
   */
  #answers(text, start) {
    /** @type {number[]} */
    const ids = [];
    let values = "";
    let at = start;
    while (stands(ANSWER, text, at)) {
      let id = 0;
      let after = at + ANSWER.length;
      for (;;) {
        const code = text.charCodeAt(after);
        if (code < DIGIT_0 || code > DIGIT_9) break;
        id = id * 10 + code - DIGIT_0;
        after++;
      }
      const end = text.indexOf("\n", after);
      const isLong = end - after > LONG;
      if (!stands(RESULT, text, after) || (isLong && ids.length > 0)) break;
      ids.push(id);
      const value = text.slice(after + RESULT.length, end - 1);
      values = ids.length === 1 ? value : `${values},${value}`;
      at = end + 1;
      if (isLong) break;
    }
    // An error, or an answer to nobody.
    if (ids.length === 0) return this.#line(text, start);
    const results = ids.length === 1 ? parsed(values) : parsed(`[${values}]`);
    if (results === undefined || (ids.length > 1 && results.length !== ids.length)) return this.#lines(text, start, at);
    if (ids.length === 1) {
      this.#events.onResult(ids[0], results);
    } else {
      for (let n = 0; n < ids.length && !this.#stopped; n++) this.#events.onResult(ids[n], results[n]);
    }
    return at;
  }

  /**
   * @param {string} text
   * @param {number} start
   * @returns {number} where the first line begins that was not read; 0 if there are no items
   */
  #items(text, start) {
    ITEM.lastIndex = start;
    const found = ITEM.exec(text);
    if (!found) return 0;
    const [head, subscription, call, request, method] = found;
    // As many as have the same head.
    let end = text.indexOf("\n", start);
    let count = 1;
    while (end - start < LONG * count && stands(head, text, end + 1)) {
      end = text.indexOf("\n", end + 1);
      count++;
    }
    const last = end - ITEM_END.length;
    const json = text.slice(start + head.length, last);
    const values = count === 1 ? [parsed(json)] : parsed(`[${json.replaceAll(`${ITEM_END}\n${head}`, ",")}]`);
    if (values?.length !== count || values[0] === undefined || !stands(ITEM_END, text, last)) {
      return this.#lines(text, start, end + 1);
    }
    this.#events.onRun(Number(subscription), {
      values,
      call: call === undefined ? undefined : Number(call),
      request: request === undefined ? undefined : Number(request),
      method,
    });
    return end + 1;
  }

  /**
   * Each by itself, and whole.
   * @param {string} text
   * @param {number} start
   * @param {number} end
   */
  #lines(text, start, end) {
    let at = start;
    while (at < end && !this.#stopped) at = this.#line(text, at);
    return end;
  }

  /**
   * @param {string} text
   * @param {number} start
   * @returns {number} where the next line begins
   */
  #line(text, start) {
    const end = text.indexOf("\n", start);
    const line = text.slice(start, end);
    if (line.trim() !== "") {
      const message = parsed(line);
      if (message === undefined) this.#events.onNonsense(line);
      else this.#events.onMessage(message);
    }
    return end + 1;
  }
}

/**
 * As `startsWith`, which takes five times as long.
 * @param {string} expected
 * @param {string} text
 * @param {number} at
 */
function stands(expected, text, at) {
  return text.substring(at, at + expected.length) === expected;
}

/**
 * @param {string} json
 * @returns {any} undefined, which no JSON stands for, if it is none
 */
function parsed(json) {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
