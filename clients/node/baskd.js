/** The package's entry: `import { connect, Bindings } from "baskd"`. */

import { Backend } from "./lib/backend.js";
import { Instance } from "./lib/instance.js";
import { Session } from "./lib/session.js";

export { AbortError, BaskdError, Closed, Disconnected, MethodError, NotReached } from "./lib/errors.js";
export { default as Bindings } from "./python_bindings.js";
export { callOnce, default as Router } from "./router.js";

/** How long a call waits for a connection that was lost to come back. */
const PATIENCE_MS = 30_000;

/**
 * Connects to a daemon. Where none answers, one is started: for the `controller` that is given, or else the one that the
 * instance's config describes. With `start: true` there always is one to start, as for `Bindings`; with `start: false`, or
 * `BASKD_START=0` in the environment, none is started.
 * @param {import("./lib/instance.js").InstanceOptions & { start?: boolean, patienceMs?: number }} [options]
 * @returns {Promise<any>} a Backend whose other members are the controller's methods
 */
export async function connect({ start, patienceMs = PATIENCE_MS, ...options } = {}) {
  const instance = new Instance(options, { start });
  const session = new Session({
    dial: (wanted) => instance.dial(wanted),
    patienceMs,
    onFinished: () => instance.release(),
  });
  await session.open();
  return new Backend(session);
}
