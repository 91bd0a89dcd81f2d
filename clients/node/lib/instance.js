import { findBinary } from "./binary.js";
import { chooseController, instanceNameFor, serves } from "./controller.js";
import { BaskdError, NotReached } from "./errors.js";
import { startConfigured, startDaemon } from "./launch.js";
import { checkedName, nameOf, socketPath, stateFolder, usage } from "./places.js";
import { cleared, privatePlace, tied } from "./private.js";
import { Session } from "./session.js";
import { dialSocket } from "./wire.js";

/** A daemon may have to wait for one before it that stops, which takes half of this at most. */
const START_TIMEOUT_MS = 60_000;
const PROBE_TIMEOUT_MS = 5_000;

/**
 * @typedef {object} InstanceOptions
 * @property {boolean} [start] false: no daemon is ever started
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
 * @property {import("./controller.js").Controller} [controller] what is started there; if not known here, the config says it
 * @property {ReturnType<typeof privatePlace>} [place] where it is private
 */

/** Which daemon is meant, and the way to it: connecting, and starting one where that is wanted. */
export class Instance {
  #options;
  #finds;
  #mayStart;
  /** @type {Target | undefined} chosen once: a later connection is to the same instance */
  #target;
  /** @type {import("./launch.js").Daemon | undefined} the private one */
  #daemon;
  /** @type {Promise<import("node:net").Socket> | undefined} */
  #dialing;
  /** @type {NotReached | undefined} what the config was found to say: there is no asking it with every try */
  #nothing;
  #released = new AbortController();

  /**
   * @param {InstanceOptions} options
   * @param {{ finds: boolean }} behaviour whether the controller, if none is given, is one that is found nearby, or else
   *   the example
   */
  constructor(options, { finds }) {
    this.#options = options;
    this.#finds = finds || options.private === true;
    this.#mayStart = options.start !== false && process.env.BASKD_START !== "0";
  }

  /**
   * What a session needs of it.
   * @returns {Pick<import("./session.js").SessionOptions, "dial" | "greets" | "check" | "onFinished">}
   */
  get way() {
    return {
      dial: (wanted) => {
        this.#dialing = this.#dial(wanted);
        return this.#dialing;
      },
      // Where daemons are started when needed, they may be about to end as well.
      greets: this.#mayStart,
      check: (status) => this.#check(status),
      onFinished: () => this.#release(),
    };
  }

  /** Gives up a start that is under way, and ends the instance if it is private. */
  async #release() {
    this.#released.abort();
    await this.#dialing?.catch(() => {});
    await this.#daemon?.release();
    if (this.#daemon && this.#target?.place) cleared(this.#target.place);
  }

  /**
   * @param {boolean} wanted whether it is worth starting a daemon: not for an idle connection that was lost, or
   *   `baskd stop` would be undone at once
   * @returns {Promise<import("node:net").Socket>}
   */
  async #dial(wanted) {
    this.#target ??= await this.#choose();
    try {
      const socket = await dialSocket(this.#target.socket);
      this.#nothing = undefined;
      return socket;
    } catch (error) {
      if (!this.#mayStart || !wanted || !isAbsent(error)) throw error;
      return await this.#start(this.#target, /** @type {NotReached} */ (error));
    }
  }

  /** @returns {Promise<Target>} */
  async #choose() {
    const { controller: given, name, socket, private: isPrivate } = this.#options;
    if (isPrivate && !this.#mayStart) {
      throw usage("a private instance has to be started: leave out `start: false`, and $BASKD_START");
    }
    if (!given && !this.#finds) return named(name, socket);
    const controller = chooseController(given);
    if (isPrivate) return ownPlace(controller);
    if (name || socket || process.env.BASKD_NAME || process.env.BASKD_SOCKET) {
      return { ...named(name, socket), controller };
    }
    const byDefault = named("default", undefined);
    const status = await statusAt(byDefault.socket);
    const own = status && serves(controller, status) ? byDefault : named(instanceNameFor(controller), undefined);
    return { ...own, controller };
  }

  /**
   * A program that names both an instance and a controller would have its calls answered by another one.
   * @param {any} status
   */
  #check(status) {
    const { controller, socket } = this.#target ?? {};
    if (!this.#options.controller || !controller || !status?.controller || serves(controller, status)) return;
    throw new BaskdError(
      `the daemon at ${socket} serves ${status.controller.spec ?? "another controller"}, not ${controller.spec}: ` +
        "give another `name`, or none to have one chosen",
      { code: "WRONG_CONTROLLER", name: "WrongController" },
    );
  }

  /**
   * @param {Target} target
   * @param {NotReached} absent
   * @returns {Promise<import("node:net").Socket>}
   */
  async #start(target, absent) {
    const { bin, python, args: more = [], startTimeoutMs: timeoutMs = START_TIMEOUT_MS } = this.#options;
    const signal = this.#released.signal;
    const withPython = python ? ["--python", python] : [];
    const { controller } = target;
    if (!controller) {
      if (this.#nothing) throw this.#nothing;
      const args = [...target.flags, ...withPython, ...more];
      const started = await startConfigured({ bin, args, socket: target.socket, timeoutMs, absent, signal });
      if (!(started instanceof NotReached)) return started;
      this.#nothing = started;
      throw started;
    }
    const program = findBinary(bin);
    if (this.#daemon) {
      // What it leaves behind is removed as it ends, so the next one has another place.
      await this.#daemon.release();
      this.#daemon = undefined;
      target = this.#target = ownPlace(controller);
    }
    const spec = controller.spec ? [controller.spec] : [];
    const serve = ["serve", ...spec, ...target.flags, ...withPython, ...more];
    const { socket, stateFolder, place } = target;
    const how = place ? tied(place, program, serve) : { command: program, args: serve };
    const plan = { ...how, socket, stateFolder, timeoutMs, tied: place !== undefined, signal };
    try {
      const started = await startDaemon(plan);
      if (place) this.#daemon = started.daemon;
      return started.socket;
    } catch (error) {
      if (place) cleared(place);
      throw error;
    }
  }
}

/**
 * @param {import("./controller.js").Controller} controller
 * @returns {Target}
 */
function ownPlace(controller) {
  const place = privatePlace();
  const flags = ["--name", place.name, "--socket", place.socket];
  return { socket: place.socket, flags, stateFolder: place.stateFolder, controller, place };
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
