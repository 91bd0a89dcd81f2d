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
 * Connects to a daemon, which is started if none answers and it is known what to serve there.
 * @param {import("./lib/instance.js").InstanceOptions & { patienceMs?: number }} [options]
 * @returns {Promise<any>} a Backend whose other members are the controller's methods
 */
export async function connect({ patienceMs = PATIENCE_MS, ...options } = {}) {
  const instance = new Instance(options, { finds: options.start === true });
  const session = new Session({ ...instance.way, patienceMs, remembers: options.private === true });
  await session.open();
  return new Backend(session);
}
