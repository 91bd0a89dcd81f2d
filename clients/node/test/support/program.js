import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PACKAGE = new URL("../../baskd.js", import.meta.url).href;

/**
 * Runs a program until it ends by itself.
 * @param {string} command
 * @param {string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, stdin?: "ignore" }} [options]
 * @returns {Promise<{ code: number | null, signal: string | null, stdout: string, stderr: string }>}
 */
export function run(command, args, { cwd, env = process.env } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text) => {
      stderr += text;
    });
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/**
 * Runs the text of a program that has this package's names and `socket`.
 * @param {string} text
 * @param {string} [socket]
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv }} [options]
 */
export async function runProgram(text, socket = "", options = {}) {
  const folder = mkdtempSync(join(tmpdir(), "baskd-node-program-"));
  const file = join(folder, "program.mjs");
  writeFileSync(
    file,
    `import { Bindings, connect } from ${JSON.stringify(PACKAGE)};\nconst socket = ${JSON.stringify(socket)};\n${text}\n`,
  );
  try {
    return await run(process.execPath, [file], options);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/**
 * Waits for the end of a process that is not ours, and bound to end: nobody tells us of it.
 * @param {number} pid
 */
export async function gone(pid) {
  while (isAlive(pid)) await new Promise((resolve) => setImmediate(resolve));
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
