export interface RouterOptions {
  /** As `Bindings` takes it, and found as it finds it. */
  controller?: string;
  /** The interpreter, or the folder of its venv. */
  python?: string;
  /** The path of `python/index.py`. */
  router?: string;
}

export interface CallOnceOptions extends RouterOptions {
  /** Gets what the call sends while it runs. */
  onMessage?: (data: any) => void;
  /** Aborted, the process is ended. */
  signal?: AbortSignal;
}

/** Calls one method in a Python process of its own. */
export declare function callOnce(method: string, params?: unknown, options?: CallOnceOptions): Promise<any>;

/** A controller whose every call is a process: `await new Router().increment({ by: 5 })`. */
export default class Router {
  constructor(options?: RouterOptions);
  onMessage(callback: (data: any) => void): () => void;
  callMethod(method: string, ...args: any[]): Promise<any>;
  /** Any other name is a method of the controller. */
  [method: string]: any;
}
