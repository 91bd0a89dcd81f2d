import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { BaskdError } from "./errors.js";

const BUILT = ["release", "debug"].map((kind) =>
  fileURLToPath(new URL(`../../../target/${kind}/baskd`, import.meta.url)),
);

/**
 * The `baskd` program: the one that was given, `$BASKD_BIN`, the PATH's, else one built beside this checkout.
 * @param {string | undefined} given
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {string}
 */
export function findBinary(given, env = process.env) {
  const named = given || env.BASKD_BIN;
  if (named) {
    if (isProgram(named)) return named;
    throw missing(`${named}, which ${given ? "`bin`" : "$BASKD_BIN"} names, isn't a program that can be run`);
  }
  const onPath = (env.PATH ?? "").split(delimiter).map((folder) => join(folder || ".", "baskd"));
  const found = [...onPath, ...BUILT].find(isProgram);
  if (found) return found;
  throw missing("no baskd daemon answers, and the program `baskd` that would start one isn't on the PATH");
}

/** @param {string} path */
function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** @param {string} why */
function missing(why) {
  return new BaskdError(`${why}: install it with \`cargo install baskd\`, or name it in $BASKD_BIN`, {
    code: "NOT_INSTALLED",
    name: "NotInstalled",
  });
}
