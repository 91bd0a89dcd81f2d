import { existsSync, mkdirSync, readdirSync, watch } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { connect } from "../../baskd.js";
import { tempFolder } from "./fake.js";

export const CONTROLLER = fileURLToPath(new URL("../fixtures/controller.py", import.meta.url));

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));

/** The daemon to test against: `$BASKD_BIN`, else one that is built beside this checkout. */
export const BASKD = [
  process.env.BASKD_BIN ?? "",
  here("../../../../target/release/baskd"),
  here("../../../../target/debug/baskd"),
].find((path) => path && existsSync(path));

/** For tests that can't do without: says why they are skipped. The time is for all of a suite together. */
export const needsDaemon = { skip: BASKD ? false : "no baskd is built, and $BASKD_BIN names none", timeout: 600_000 };

/**
 * Runtime and state folders of the test's own, so that it never meets the user's daemons. Those that were started in
 * it are shut down at its end.
 * @param {import("node:test").TestContext} t
 */
export function home(t) {
  const folder = tempFolder(t, () => stopAll());
  const runtime = join(folder, "run");
  const sockets = join(runtime, "baskd");
  for (const path of [runtime, sockets, join(folder, "state"), join(folder, "tmp"), join(folder, "cwd")]) {
    mkdirSync(path, { mode: 0o700 });
  }
  const env = {
    ...process.env,
    XDG_RUNTIME_DIR: runtime,
    XDG_STATE_HOME: join(folder, "state"),
    XDG_CONFIG_HOME: join(folder, "config"),
    TMPDIR: join(folder, "tmp"),
    BASKD_BIN: BASKD,
    BASKD_NAME: "",
    BASKD_START: "",
    BASKD_SOCKET: "",
  };
  const running = () => readdirSync(sockets).filter((name) => name.endsWith(".sock"));
  const stopAll = () => Promise.all(running().map((name) => stop(join(sockets, name))));
  return { folder, env, cwd: join(folder, "cwd"), sockets, running, socket: join(sockets, "default.sock") };
}

/**
 * Shuts a daemon down. It has ended when its socket is gone.
 * @param {string} socket
 */
export async function stop(socket) {
  const folder = dirname(socket);
  // One that was killed leaves its socket behind.
  const backend = await connect({ socket }).catch(() => undefined);
  if (!backend) return;
  const gone = new Promise((/** @type {(value?: undefined) => void} */ resolve) => {
    const watcher = watch(folder, () => {
      if (existsSync(socket)) return;
      watcher.close();
      resolve();
    });
  });
  await backend.call("daemon.shutdown");
  await gone;
}
