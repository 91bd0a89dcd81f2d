import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LineSplitter } from "../../lib/lines.js";

// What tests don't start themselves is not started for them: a test that means to be without a daemon is.
process.env.BASKD_START = "0";

/**
 * A folder of the test's own, which a socket may be in.
 * @param {import("node:test").TestContext} t
 * @param {() => unknown} [before] what is to be done before it is removed
 */
export function tempFolder(t, before = () => {}) {
  const folder = mkdtempSync(join(tmpdir(), "baskd-node-test-"));
  chmodSync(folder, 0o700);
  t.after(async () => {
    await before();
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

/** @typedef {(request: any, connection: Connection) => any} Method gives the result, throws the error object, or `LATER` */

/** What a method gives that answers by itself, or never. */
export const LATER = Symbol("later");

/** One client's connection, on the daemon's side. */
class Connection {
  /** @param {import("node:net").Socket} socket */
  constructor(socket) {
    this.socket = socket;
  }

  /** @param {any} message */
  send(message) {
    this.socket.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  }

  /**
   * @param {string} method
   * @param {number} subscription
   * @param {any} result
   */
  event(method, subscription, result) {
    this.send({ method, params: { subscription, result } });
  }
}

/** A daemon without a Python: it does what the test says, and remembers all it was told. */
export class FakeDaemon {
  /** @type {any[]} */
  received = [];
  /** @type {Set<Connection>} */
  connections = new Set();
  /** Chunks that arrived, to see what was written at once. */
  chunks = 0;
  #waiting = /** @type {{ matches: (message: any) => boolean, resolve: (message: any) => void }[]} */ ([]);
  #server;

  /**
   * @param {string} path
   * @param {Record<string, Method>} methods
   */
  constructor(path, methods) {
    this.path = path;
    this.methods = methods;
    this.#server = this.#make();
  }

  #make() {
    return createServer((socket) => {
      const connection = new Connection(socket);
      this.connections.add(connection);
      const lines = new LineSplitter((line) => this.#read(JSON.parse(line), connection));
      socket.on("data", (chunk) => {
        this.chunks++;
        lines.push(chunk);
      });
      socket.on("error", () => {});
      socket.on("close", () => this.connections.delete(connection));
    });
  }

  /**
   * @param {any} message
   * @param {Connection} connection
   */
  #read(message, connection) {
    this.received.push(message);
    for (const waiting of [...this.#waiting]) {
      if (!waiting.matches(message)) continue;
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
      waiting.resolve(message);
    }
    const method = this.methods[message.method];
    if (message.id === undefined) {
      method?.(message, connection);
      return;
    }
    try {
      if (!method) throw { code: -32601, message: `no ${message.method}`, data: { nearest: [] } };
      const result = method(message, connection);
      if (result !== LATER) connection.send({ id: message.id, result });
    } catch (error) {
      connection.send({ id: message.id, error });
    }
  }

  /** @returns {Promise<void>} */
  listen() {
    return new Promise((resolve) => this.#server.listen(this.path, () => resolve()));
  }

  /**
   * The n-th message, past or to come, of a method.
   * @param {string} method
   * @param {number} [n]
   * @returns {Promise<any>}
   */
  async told(method, n = 1) {
    const past = this.received.filter((message) => message.method === method);
    if (past.length >= n) return past[n - 1];
    let missing = n - past.length;
    const matches = (/** @type {any} */ message) => message.method === method && --missing === 0;
    return await new Promise((resolve) => this.#waiting.push({ matches, resolve }));
  }

  /** @param {string} method */
  count(method) {
    return this.received.filter((message) => message.method === method).length;
  }

  /** Loses every connection. */
  drop() {
    for (const { socket } of this.connections) socket.destroy();
  }

  /** Ends, as a daemon does that is stopped. */
  async stop() {
    // It stops listening first: a client that is dropped is at once back at the door.
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.drop();
    await closed;
  }

  /** Comes back where it was. */
  async restart() {
    this.#server = this.#make();
    await this.listen();
  }
}

/**
 * @param {import("node:test").TestContext} t
 * @param {Record<string, Method>} [methods]
 */
export async function fakeDaemon(t, methods = {}) {
  const fake = new FakeDaemon(join(tempFolder(t), "fake.sock"), {
    echo: ({ params }) => params ?? null,
    setProperty: ({ params }) => params.value,
    getProperty: ({ params }) => ({ property: params.name }),
    never: () => LATER,
    "messages.subscribe": ({ id }) => 1000 + id,
    ...methods,
  });
  await fake.listen();
  t.after(() => fake.stop());
  return fake;
}
