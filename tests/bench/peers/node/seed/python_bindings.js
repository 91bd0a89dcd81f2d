import { PythonShell } from "python-shell";

/**
 * The seed's way: a Python of one's own, JSON lines over its stdin and stdout, answers in the order of the calls. It
 * sends a call at once, without waiting for the answer of the one before.
 */
export default class ChatModel {
  #shell;
  /** @type {{ method: string, params: object, resolve: (result: any) => void, reject: (error: Error) => void }[]} */
  #sendQueue = [];
  /** @type {{ resolve: (result: any) => void, reject: (error: Error) => void }[]} */
  #waiting = [];
  /** @type {((data: any) => void) | undefined} */
  #callback;

  /**
   * @param {string} script
   * @param {string} python
   */
  constructor(script, python) {
    this.#shell = new PythonShell(script, { mode: "text", pythonPath: python });
    this.#shell.on("message", (/** @type {string} */ line) => this.#receive(line));
    // biome-ignore lint/correctness/noConstructorReturn: any name is a method of Python's, as in the seed.
    return new Proxy(this, {
      get(target, name) {
        const own = Reflect.get(target, name, target);
        if (typeof own === "function") return own.bind(target);
        return (/** @type {object} */ params) => target.callMethod(String(name), params);
      },
    });
  }

  /** @param {(data: any) => void} callback */
  onMessage(callback) {
    this.#callback = callback;
  }

  /**
   * @param {string} method
   * @param {object} params
   * @returns {Promise<any>}
   */
  callMethod(method, params = {}) {
    return new Promise((resolve, reject) => {
      this.#sendQueue.push({ method, params, resolve, reject });
      this.processSendQueue();
    });
  }

  processSendQueue() {
    for (let call = this.#sendQueue.shift(); call; call = this.#sendQueue.shift()) {
      this.#waiting.push(call);
      this.#shell.send(JSON.stringify({ method: call.method, params: call.params }));
    }
  }

  /** @param {string} line */
  #receive(line) {
    if (line.startsWith("__STREAM__")) {
      this.#callback?.(JSON.parse(line.slice("__STREAM__".length)));
      return;
    }
    const answer = JSON.parse(line);
    const call = this.#waiting.shift();
    if ("error" in answer) call?.reject(new Error(answer.error));
    else call?.resolve(answer.result);
  }

  /** @returns {Promise<void>} */
  end() {
    return new Promise((resolve, reject) => {
      this.#shell.end((/** @type {Error | null} */ error) => (error ? reject(error) : resolve()));
    });
  }
}
