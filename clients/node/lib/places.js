/** Where an instance's socket and state are: PROTOCOL.md, "Connecting". */

import { lstatSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, parse, resolve } from "node:path";
import { BaskdError, NotReached } from "./errors.js";

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$/;
const LONGEST_PATH = 107;

/**
 * The socket of an instance. A name or path that was given beats the environment's.
 * @param {{ name?: string, socket?: string }} [given]
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {string}
 */
export function socketPath({ name, socket } = {}, env = process.env) {
  if (socket) return checkedPath(resolve(socket));
  if (!name && env.BASKD_SOCKET) return checkedPath(resolve(env.BASKD_SOCKET));
  const file = `${checkedName(name || env.BASKD_NAME || "default")}.sock`;
  return checkedPath(join(runtimeFolder(env), file));
}

/**
 * @param {NodeJS.ProcessEnv} env
 * @returns {string}
 */
function runtimeFolder(env) {
  if (env.XDG_RUNTIME_DIR) return join(env.XDG_RUNTIME_DIR, "baskd");
  const uid = userId();
  const run = `/run/user/${uid}`;
  if (statSync(run, { throwIfNoEntry: false })?.isDirectory()) return join(run, "baskd");
  return `/tmp/baskd-${uid}`;
}

/**
 * @param {string} name
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {string}
 */
export function stateFolder(name, env = process.env) {
  return join(env.XDG_STATE_HOME || join(homedir(), ".local", "state"), "baskd", name);
}

/**
 * The name of the instance whose socket was given without one: the socket lends it its own, as the daemon has it.
 * @param {string} socket
 * @returns {string}
 */
export function nameOf(socket) {
  const { name } = parse(socket);
  return NAME.test(name) ? name : "default";
}

/**
 * @param {string} name
 * @returns {string}
 */
export function checkedName(name) {
  if (NAME.test(name)) return name;
  throw usage(
    `${JSON.stringify(name)} can't name an instance: use up to 32 letters, digits, "_", "." and "-", a letter or digit first`,
  );
}

/**
 * @param {string} path
 * @returns {string}
 */
function checkedPath(path) {
  const bytes = Buffer.byteLength(path);
  if (bytes <= LONGEST_PATH) return path;
  throw usage(
    `${path} has ${bytes} bytes and a socket's path at most ${LONGEST_PATH}: give a shorter one as \`socket\``,
  );
}

/**
 * Refuses a socket that someone else could have put there: whoever can write to its folder can pose as the daemon.
 * @param {string} path
 */
export function checkFolder(path) {
  const folder = dirname(path);
  const found = lstatSync(folder, { throwIfNoEntry: false });
  if (!found) throw new NotReached(`no baskd daemon answers at ${path}: ${folder} isn't there. ${START_ONE}`);
  const refuse = (/** @type {string} */ why, /** @type {string} */ remedy) => {
    throw new BaskdError(`${folder} is not a safe place for a socket: ${why}. ${remedy}`, {
      code: "UNSAFE_SOCKET",
      name: "UnsafeSocket",
    });
  };
  if (found.isSymbolicLink()) refuse("it is a link", "Give the folder it leads to as the socket's");
  if (!found.isDirectory()) refuse("it isn't a folder", "Remove it, or give another `socket`");
  const uid = userId();
  if (found.uid !== uid && uid !== 0) {
    refuse(`it belongs to user ${found.uid}, not to ${uid}`, "Give a `socket` in a folder of your own");
  }
  if ((found.mode & 0o777) !== 0o700) {
    refuse(`its mode is ${(found.mode & 0o777).toString(8)}`, `Run \`chmod 700 ${folder}\``);
  }
}

export const START_ONE = "Start one with `baskd serve CONTROLLER`";

/** @returns {number} */
function userId() {
  return process.getuid?.() ?? 0;
}

/** @param {string} message */
export function usage(message) {
  return new BaskdError(message, { code: "USAGE", name: "UsageError" });
}
