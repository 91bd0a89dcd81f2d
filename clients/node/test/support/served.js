import assert from "node:assert/strict";
import { connect } from "../../baskd.js";
import { CONTROLLER, home } from "./home.js";
import { runProgram } from "./program.js";

/**
 * A backend of a daemon that serves the tests' controller.
 * @param {import("node:test").TestContext} t
 */
export async function served(t) {
  const place = home(t);
  const start = `const backend = await connect({ socket, controller: ${JSON.stringify(CONTROLLER)}, start: true });
    await backend.close();`;
  const started = await runProgram(start, place.socket, place);
  assert.deepEqual([started.code, started.stderr], [0, ""]);
  const backend = await connect({ socket: place.socket });
  t.after(() => backend.close());
  return { ...place, backend };
}
