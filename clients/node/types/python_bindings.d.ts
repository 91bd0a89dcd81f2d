export interface InstanceOptions {
  /** `false`: no daemon is ever started, as with `BASKD_START=0` in the environment. */
  start?: boolean;
  /** `path.py`, `path.py:Class` or `package.module:Class`; found by itself if not given. */
  controller?: string;
  /** The instance's name. */
  name?: string;
  /** The instance's socket. */
  socket?: string;
  /** An instance of one's own, which ends with this object, or with its process. */
  private?: boolean;
  /** The interpreter, or the folder of its venv, for a daemon that is started. */
  python?: string;
  /** The `baskd` program that starts a daemon; `$BASKD_BIN` or the PATH's unless given. */
  bin?: string;
  /** More arguments for `baskd serve`. */
  args?: string[];
  /** How long a daemon that is started may take to listen; 60 seconds unless given. */
  startTimeoutMs?: number;
}

/** What came between is missed: while the connection was lost, or since so many were dropped for a slow reader. */
export type Gap = { restarted: true } | { dropped: number };

export interface GapOptions {
  /** Told that messages may be missing. Without it, a warning says so on stderr. */
  onGap?: (gap: Gap) => void;
  /** Told that the daemon refuses the subscription, which has ended. Without it, that is an unhandled rejection. */
  onError?: (error: Error) => void;
}

/**
 * A Python Controller as an object: `await chat.increment({ by: 5 })` calls its method `increment`. The controller
 * lives in a daemon, which is started if none answers, and outlives this object and its process.
 */
export default class Bindings {
  constructor(initialProperties?: Record<string, unknown>, options?: InstanceOptions);
  setProperty(name: string, value: unknown): Promise<any>;
  getProperty(name: string): Promise<any>;
  /** Hands `callback` what this object's calls send while they run. Returns what ends it. */
  onMessage(callback: (data: any) => void, options?: GapOptions): () => void;
  /** Calls a method by its name, those too that are members here. */
  callMethod(method: string, ...args: any[]): Promise<any>;
  /** Sends what waits, in order. It is called by itself. */
  processSendQueue(): void;
  /** Refuses later calls, waits for the answers and messages of earlier ones, and disconnects. */
  end(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
  /** Any other name is a method of the controller. */
  [method: string]: any;
}
