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
    const socket = connect({ path, allowHalfOpen: false });
    socket.once("connect", () => {
      socket.removeAllListeners("error");
      resolve(socket);
    });
    socket.once("error", (/** @type {NodeJS.ErrnoException} */ error) => reject(whyNot(path, error)));
  });
}

/**
 * @param {string} path
 * @param {NodeJS.ErrnoException} error
 */
function whyNot(path, error) {
  switch (error.code) {
    case "ENOENT":
    case "ECONNREFUSED":
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
   * @param {Socket} socket
   * @param {WireEvents} events
   */
  constructor(socket, events) {
    this.#socket = socket;
    const { onResult, onRun, onMessage } = events;
    const onNonsense = (/** @type {string} */ line) =>
      this.destroy(new Error(`the daemon sent a line that isn't JSON: ${line.slice(0, 80)}`));
    const incoming = new Incoming({ onResult, onRun, onMessage, onNonsense });
    this.#incoming = incoming;
    const lines = new WholeLines();
    socket.on("data", (chunk) => incoming.read(lines.push(/** @type {Buffer} */ (chunk))));
    socket.on("drain", () => events.onDrain());
    socket.on("error", (error) => {
      this.#error ??= error;
    });
    socket.on("close", () => {
      incoming.stop();
      events.onClose(this.#error);
    });
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
