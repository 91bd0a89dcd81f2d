import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stateFolder } from "./places.js";

/**
 * Runs the daemon until it ends, or until its stdin does, which this process holds and never writes to: so the daemon
 * ends with its owner, however that ends. Then what only that daemon used is removed.
 *
 * `read` is the shell's own, so that no process is left over when the daemon ends first.
 */
const SCRIPT = `
socket_folder=$1 state_folder=$2; shift 2
exec 3<&0 </dev/null
"$@" 3<&- & daemon=$!
(read -r _ <&3; kill "$daemon") 2>/dev/null & owner=$!
exec 3<&-
wait "$daemon"; status=$?
kill "$owner" 2>/dev/null
rm -rf -- "$socket_folder" "$state_folder"
exit "$status"
`;

/** An instance that nobody else knows of. */
export function privatePlace() {
  const name = `private-${process.pid}-${randomBytes(4).toString("hex")}`;
  const folder = mkdtempSync(join(tmpdir(), "baskd-private-"));
  return { name, folder, socket: join(folder, "baskd.sock"), stateFolder: stateFolder(name) };
}

/**
 * The command that ties a daemon's life to a pipe.
 * @param {{ folder: string, stateFolder: string }} place
 * @param {string} command
 * @param {string[]} args
 */
export function tied(place, command, args) {
  return { command: "/bin/sh", args: ["-c", SCRIPT, "baskd", place.folder, place.stateFolder, command, ...args] };
}

/**
 * Removes what the daemon that was there would have left, had it not come to its end by itself.
 * @param {{ folder: string, stateFolder: string }} place
 */
export function cleared({ folder, stateFolder }) {
  for (const path of [folder, stateFolder]) rmSync(path, { recursive: true, force: true });
}
