import { findBinary } from "./binary.js";
import { chooseController, instanceNameFor, serves } from "./controller.js";
import { BaskdError, NotReached } from "./errors.js";
import { startConfigured, startDaemon } from "./launch.js";
import { checkedName, nameOf, socketPath, stateFolder } from "./places.js";
import { privatePlace, tied } from "./private.js";
import { Session } from "./session.js";
import { dialSocket } from "./wire.js";

const START_TIMEOUT_MS = 30_000;
const PROBE_TIMEOUT_MS = 5_000;

/**
 * @typedef {object} InstanceOptions
 * @property {string} [controller] `path.py`, `path.py:Class` or `package.module:Class`
 * @property {string} [name] the instance's name
 * @property {string} [socket] the instance's socket
 * @property {boolean} [private] an instance of our own, which ends with us
 * @property {string} [python] the interpreter, or a venv's folder, for a daemon that is started
 * @property {string} [bin] the `baskd` program that starts one
 * @property {string[]} [args] more arguments for `baskd serve`
 * @property {number} [startTimeoutMs] how long a daemon may take to listen
 *
 * @typedef {object} Target
 * @property {string} socket
 * @property {string[]} flags that make `baskd serve` listen there
 * @property {string} stateFolder
 * @property {import("./controller.js").Controller} [controller] what is started there
 * @property {ReturnType<typeof privatePlace>} [place] where it is private
 */

/** Which daemon is meant, and the way to it: connecting, and starting one where that is wanted. */
export class Instance {
  #options;
  #mayStart;
  #mayStartConfigured;
  /** @type {Target | undefined} chosen once: a later connection is to the same instance */
  #target;
  /** @type {import("./launch.js").Daemon | undefined} the private one */
  #daemon;
  /** @type {Promise<import("node:net").Socket> | undefined} */
  #dialing;

  /**
   * @param {InstanceOptions} options
   * @param {{ start: boolean | undefined }} behaviour whether one is started where none answers. Not given: that of a
   *   `controller` that is given, or else the one that the instance's config describes
   */
  constructor(options, { start }) {
    this.#options = options;
    const isForbidden = start === false || process.env.BASKD_START === "0";
    this.#mayStart = options.private === true || (!isForbidden && (start === true || options.controller !== undefined));
    this.#mayStartConfigured = !isForbidden && !this.#mayStart;
  }

  /**
   * @param {boolean} wanted whether it is worth starting a daemon: not for an idle connection that was lost, or
   *   `baskd stop` would be undone at once
   * @returns {Promise<import("node:net").Socket>}
   */
  dial(wanted) {
    this.#dialing = this.#dial(wanted);
    return this.#dialing;
  }

  /** Ends the instance if it is private, and one that is just being started when it has been. */
  async release() {
    await this.#dialing?.catch(() => {});
    await this.#daemon?.release();
  }

  /**
   * @param {boolean} wanted
   * @returns {Promise<import("node:net").Socket>}
   */
  async #dial(wanted) {
    this.#target ??= await this.#choose();
    try {
      return await dialSocket(this.#target.socket);
    } catch (error) {
      if (!wanted || !isAbsent(error) || !(this.#mayStart || this.#mayStartConfigured)) throw error;
      if (!this.#mayStart) return await this.#startConfigured(this.#target, error);
    }
    return await this.#start(this.#target);
  }

  /**
   * @param {Target} target
   * @param {unknown} absent what it is without a daemon
   * @returns {Promise<import("node:net").Socket>}
   */
  async #startConfigured({ socket }, absent) {
    let why = absent;
    try {
      await startConfigured(this.#options);
    } catch (error) {
      why = error;
    }
    // Whatever became of that, somebody may listen there by now.
    try {
      return await dialSocket(socket);
    } catch {
      throw why;
    }
  }

  /** @returns {Promise<Target>} */
  async #choose() {
    const { controller: given, name, socket } = this.#options;
    if (!this.#mayStart) return { socket: socketPath({ name, socket }), flags: [], stateFolder: "" };
    const controller = chooseController(given);
    if (this.#options.private) {
      const place = privatePlace();
      const flags = ["--name", place.name, "--socket", place.socket];
      return { socket: place.socket, flags, stateFolder: place.stateFolder, controller, place };
    }
    if (name || socket || process.env.BASKD_NAME || process.env.BASKD_SOCKET) {
      const target = { ...named(name, socket), controller };
      if (given) await refuseAnother(target.socket, controller);
      return target;
    }
    const byDefault = named("default", undefined);
    const status = await statusAt(byDefault.socket);
    const own = status && serves(controller, status) ? byDefault : named(instanceNameFor(controller), undefined);
    return { ...own, controller };
  }

  /**
   * @param {Target} target
   * @returns {Promise<import("node:net").Socket>}
   */
  async #start({ socket, flags, stateFolder: state, controller, place }) {
    const { bin, python, args: more = [], startTimeoutMs = START_TIMEOUT_MS } = this.#options;
    const program = findBinary(bin);
    const serve = ["serve", ...(controller?.spec ? [controller.spec] : []), ...flags];
    if (python) serve.push("--python", python);
    serve.push(...more);
    const how = place ? tied(place, program, serve) : { command: program, args: serve };
    const plan = { ...how, socket, stateFolder: state, timeoutMs: startTimeoutMs, tied: place !== undefined };
    const started = await startDaemon(plan);
    started.daemon?.forgetLog();
    if (place) this.#daemon = started.daemon;
    return started.socket;
  }
}

/**
 * @param {string | undefined} name
 * @param {string | undefined} path
 */
function named(name, path) {
  const socket = socketPath({ name, socket: path });
  const flags = [];
  const ownName = name || (path ? undefined : process.env.BASKD_NAME);
  if (ownName) flags.push("--name", checkedName(ownName));
  if (path || !name) flags.push("--socket", socket);
  return { socket, flags, stateFolder: stateFolder(ownName || nameOf(socket)) };
}

/**
 * A program that names both an instance and a controller would have its calls answered by another one.
 * @param {string} socket
 * @param {import("./controller.js").Controller} controller
 */
async function refuseAnother(socket, controller) {
  const status = await statusAt(socket);
  if (!status || serves(controller, status)) return;
  throw new BaskdError(
    `the daemon at ${socket} serves ${status.controller?.spec ?? "another controller"}, not ${controller.spec}: ` +
      "give another `name`, or none to have one chosen",
    { code: "WRONG_CONTROLLER", name: "WrongController" },
  );
}

/**
 * What a daemon says of itself; nothing where none answers in good time.
 * @param {string} path
 * @returns {Promise<any>}
 */
async function statusAt(path) {
  const session = new Session({ dial: () => dialSocket(path), patienceMs: 0 });
  try {
    await session.open();
    return await session.call("daemon.status", undefined, { timeoutMs: PROBE_TIMEOUT_MS });
  } catch (error) {
    if (error instanceof BaskdError && ["UnsafeSocket", "Forbidden"].includes(error.name)) throw error;
    return undefined;
  } finally {
    session.close();
  }
}

/** @param {unknown} error */
function isAbsent(error) {
  const cause =
    error instanceof NotReached ? /** @type {NodeJS.ErrnoException | undefined} */ (error.cause) : undefined;
  return error instanceof NotReached && cause?.code !== "EAGAIN";
}
