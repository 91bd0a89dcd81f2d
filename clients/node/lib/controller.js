/** Which controller is meant, what to call its instance, and whether a daemon serves it. */

import { createHash } from "node:crypto";
import { existsSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { BaskdError } from "./errors.js";

const CONTROLLER = join("python", "controller.py");
const PACKAGE = fileURLToPath(new URL("..", import.meta.url));
const LONGEST_STEM = 23;

/**
 * @typedef {object} Controller
 * @property {string | undefined} spec as `baskd serve` takes it; nothing for the embedded example
 * @property {string} [file] the real path of its file, where it is one
 * @property {string} [className]
 */

/**
 * The controller that was given, else `python/controller.py` in the working folder, beside this package or beside the
 * program that runs, else the embedded example.
 * @param {string | undefined} given
 * @returns {Controller}
 */
export function chooseController(given) {
  if (given) return parse(given);
  const program = process.argv[1];
  const folders = [process.cwd(), PACKAGE, ...(program ? [dirname(resolve(program))] : [])];
  const found = folders.map((folder) => join(folder, CONTROLLER)).find((path) => existsSync(path));
  return found ? parse(found) : { spec: undefined };
}

/**
 * @param {string} spec `path.py`, `path.py:Class` or `package.module:Class`
 * @returns {Controller}
 */
function parse(spec) {
  const [, path, className = "Controller"] = /^(.*\.py)(?::(\w+))?$/s.exec(spec) ?? [];
  if (!path) return { spec: spec.includes(":") ? spec : `${spec}:Controller` };
  const absolute = resolve(path);
  if (!existsSync(absolute)) {
    throw new BaskdError(`there is no controller at ${absolute}: give the path of a .py file as \`controller\``, {
      code: "USAGE",
      name: "UsageError",
    });
  }
  // The path as it was given goes to the daemon: it looks for a .venv beside the controller, links and all.
  return { spec: `${absolute}:${className}`, file: realpathSync(absolute), className };
}

/**
 * A name for the controller's own instance: readable, and the same whenever the same file is meant.
 * @param {Controller} controller
 * @returns {string}
 */
export function instanceNameFor({ spec, file, className }) {
  if (!spec) return "example";
  const identity = file ? file + (className === "Controller" ? "" : `:${className}`) : `${process.cwd()}:${spec}`;
  const hash = createHash("sha256").update(identity).digest("hex").slice(0, 8);
  const readable = (file ? telling(file) : spec)
    .replace(/[^A-Za-z0-9_.-]+/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "")
    .slice(0, LONGEST_STEM);
  return `${readable || "controller"}-${hash}`;
}

/**
 * The part of a path that tells it from others: `search` of `search.py`, and `app` of `app/python/controller.py`.
 * @param {string} file
 */
function telling(file) {
  const stem = basename(file, ".py");
  if (stem !== "controller") return stem;
  const folder = dirname(file);
  return basename(basename(folder) === "python" ? dirname(folder) : folder);
}

/**
 * @param {Controller} controller
 * @param {any} status a daemon's `daemon.status`
 * @returns {boolean}
 */
export function serves({ spec, file, className }, status) {
  const served = status?.controller;
  if (!served) return false;
  if (!spec) return served.embedded === true;
  if (!file) return served.spec === spec;
  return served.class === className && typeof served.file === "string" && realOr(served.file) === file;
}

/** @param {string} path */
function realOr(path) {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
