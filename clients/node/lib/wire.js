import { connect } from "node:net";
import { BaskdError, NotReached } from "./errors.js";
import { Incoming } from "./incoming.js";
import { WholeLines } from "./lines.js";
import { checkFolder, START_ONE } from "./places.js";

/** @typedef {import("node:net").Socket} Socket */

/**
 * A connected socket, or NotReached where nobody listens. The folder is looked at each time: it may have been replaced.
 * @param {string} path
 * @returns {Promise<Socket>}
 */
export async function dialSocket(path) {
  checkFolder(path);
  return await new Promise((resolve, reject) => {
    const reading = new Reading();
    const socket = connect({ path, allowHalfOpen: false, onread: reading.options });
    readings.set(socket, reading);
    socket.once("connect", () => {
      socket.removeAllListeners("error");
      // It is read from now on, and may fail before its Wire is there, which looks at `errored`.
      socket.on("error", () => {});
      resolve(socket);
    });
    socket.once("error", (/** @type {NodeJS.ErrnoException} */ error) => reject(whyNot(path, error)));
  });
}

const READ_AT_ONCE = 64 * 1024;

/**
 * Where a socket's bytes go. They are all read into one piece of memory: a new one for each read, as a socket's "data"
 * events have it, costs more than what a small answer takes to parse.
 */
class Reading {
  /** What came before there was a Wire. */
  #early = "";
  /** @type {((text: string) => void) | undefined} */
  #onText;
  #lines = new WholeLines();
  options = {
    buffer: new Uint8Array(READ_AT_ONCE),
    callback: (/** @type {number} */ length, /** @type {Uint8Array} */ bytes) => {
      const text = this.#lines.push(Buffer.from(bytes.buffer, 0, length));
      if (this.#onText) this.#onText(text);
      else this.#early += text;
      return true;
    },
  };

  /** @param {(text: string) => void} onText takes whole lines, the first of them before long */
  hand(onText) {
    this.#onText = onText;
    const early = this.#early;
    this.#early = "";
    if (early !== "") queueMicrotask(() => onText(early));
  }
}

/** @type {WeakMap<Socket, Reading>} */
const readings = new WeakMap();

/**
 * @param {string} path
 * @param {NodeJS.ErrnoException} error
 */
function whyNot(path, error) {
  switch (error.code) {
    case "ENOENT":
    case "ECONNREFUSED":
    // A daemon that is being killed resets those whom it has not accepted yet.
    case "ECONNRESET":
      return new NotReached(`no baskd daemon answers at ${path}. ${START_ONE}`, error);
    case "EAGAIN":
      return new NotReached(`the baskd daemon at ${path} is too busy to take a connection: try again later`, error);
    default:
      return new BaskdError(`can't connect to ${path}: ${error.message}`, {
        code: error.code ?? "CONNECT",
        name: "ConnectError",
        cause: error,
      });
  }
}

/**
 * @typedef {object} WireEvents
 * @property {import("./incoming.js").IncomingEvents["onResult"]} onResult
 * @property {import("./incoming.js").IncomingEvents["onRun"]} onRun
 * @property {import("./incoming.js").IncomingEvents["onMessage"]} onMessage
 * @property {() => void} onDrain what was written has been taken, after `full` was true
 * @property {(error: Error | undefined) => void} onClose exactly once, and nothing after it
 */

/** One connection: JSON values, a line each, over one socket. Knows nothing of calls. */
export class Wire {
  /** @type {Socket} */
  #socket;
  /** @type {Error | undefined} */
  #error;
  #incoming;
  #keptAlive = true;

  /**
   * @param {Socket} socket as dialled here
   * @param {WireEvents} events
   */
  constructor(socket, events) {
    this.#socket = socket;
    const { onResult, onRun, onMessage } = events;
    const onNonsense = (/** @type {string} */ line) =>
      this.destroy(new Error(`the daemon sent a line that isn't JSON: ${line.slice(0, 80)}`));
    const incoming = new Incoming({ onResult, onRun, onMessage, onNonsense });
    this.#incoming = incoming;
    readings.get(socket)?.hand((text) => incoming.read(text));
    socket.on("drain", () => events.onDrain());
    const onClose = () => {
      incoming.stop();
      events.onClose(this.#error ?? socket.errored ?? undefined);
    };
    if (socket.closed) queueMicrotask(onClose);
    else socket.on("close", onClose);
  }

  /** Whether to hold back: what isn't written can still go elsewhere when the connection is lost. */
  get full() {
    return this.#socket.writableNeedDrain;
  }

  /**
   * @param {string} text whole lines
   * @returns {boolean} false if the connection was lost before any of it could leave: a write that fails is known to
   *   have failed at once if nothing was taken, and later if something was
   */
  write(text) {
    if (this.#socket.destroyed || this.#socket.errored || this.#socket.writableEnded) return false;
    this.#socket.write(text);
    return this.#socket.errored === null;
  }

  /** @param {boolean} on whether this connection keeps the process alive */
  keepAlive(on) {
    if (on === this.#keptAlive) return;
    this.#keptAlive = on;
    if (on) this.#socket.ref();
    else this.#socket.unref();
  }

  /** Closes both ways once what was written has gone out; a daemon goes on answering one that closes only its own. */
  end() {
    this.#socket.end(() => this.#socket.destroy());
  }

  /** @param {Error} [error] why, for `onClose` */
  destroy(error) {
    this.#error ??= error;
    this.#incoming.stop();
    this.#socket.destroy();
  }
}
