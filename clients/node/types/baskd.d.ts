/** Types of the package `baskd`. PROTOCOL.md says what the values mean. */

import type { Gap, GapOptions, InstanceOptions } from "./python_bindings.js";

export { default as Bindings, type Gap, type GapOptions, type InstanceOptions } from "./python_bindings.js";
export { type CallOnceOptions, callOnce, default as Router, type RouterOptions } from "./router.js";

/** Params as the daemon takes them: by name, or by position. */
export type Params = object | readonly unknown[];

/** A controller's methods, as `connect<Methods>()` is told them. Any name is one where it is told nothing. */
export type AnyMethods = { [method: string]: (...args: any[]) => any };

type Answer<F> = F extends (...args: any[]) => infer R ? Awaited<R> : any;
type Arguments<F> = F extends (...args: infer A) => any ? A : any[];
type FirstParams<F> = Arguments<F> extends [(infer P)?, ...any[]] ? P : any;

/** `f()`, `f({ by: 5 })` by name, `f(5)` or `f(1, 2)` by position. */
export type MethodCalls<M> = { [K in keyof M]: (...args: Arguments<M[K]>) => Promise<Answer<M[K]>> };

export type StreamCalls<M> = {
  [K in keyof M]: (params?: FirstParams<M[K]>, options?: StreamOptions) => ResultStream<any, Answer<M[K]>>;
};

export interface TimedOptions {
  /** Aborted, the call is cancelled in Python, and its promise rejects at once with an `AbortError`. */
  signal?: AbortSignal;
  /** After so long the daemon cancels the call, which rejects with `TimedOut`. */
  timeoutMs?: number;
}

export interface CallOptions extends TimedOptions {
  /**
   * Whether it may run twice: then it is sent again, once, if the connection is lost while it is under way. Unless
   * given, that is so if the controller marks its method `@idempotent`.
   */
  idempotent?: boolean;
}

export interface StreamOptions extends TimedOptions {
  /** How many items may be under way, unread; 512 unless given. `Infinity` turns flow control off. */
  window?: number;
}

/** One call's partial results. Leaving a `for await` over it cancels the call. */
export interface ResultStream<Item = any, Result = any> extends AsyncIterableIterator<Item> {
  next(): Promise<IteratorResult<Item, Result>>;
  return(value?: any): Promise<IteratorResult<Item, any>>;
  throw(error?: unknown): Promise<IteratorResult<Item, any>>;
  [Symbol.asyncIterator](): this;
  [Symbol.asyncDispose](): Promise<void>;
  /** The method's return value, once all items have been read. */
  readonly result: Promise<Result>;
}

export interface MessageOptions extends GapOptions {
  /** The messages of this connection's calls, which is the default, or of everyone's. */
  scope?: "own" | "all";
  /** Only what this method's calls send. */
  method?: string;
  /** Whether listening keeps the process alive, which a connection alone does not. */
  keepAlive?: boolean;
}

export interface Message {
  /** The daemon's number of the call. */
  call: number;
  /** The request's id, for a call of this connection. */
  request?: number | string | null;
  method: string;
  data: any;
}

export interface LogOptions {
  /** So many of the last lines come first, as far as the daemon has kept them; and again after a reconnection. */
  lines?: number;
  /** With `lines`: told that these have come, and that what follows is new. */
  onLive?: () => void;
  /** Whether listening keeps the process alive, which a connection alone does not. */
  keepAlive?: boolean;
  /** Told that the daemon refuses the subscription, which has ended. Without it, that is an unhandled rejection. */
  onError?: (error: Error) => void;
}

export interface LogLine {
  /** As `"2026-11-25T20:29:39.123Z"`. */
  time: string;
  level: string;
  stream: "stdout" | "stderr" | "daemon";
  /** The daemon's number of the call that printed it, where that is known. */
  call: number | null;
  /** That call's method. */
  method: string | null;
  line: string;
}

export interface Status {
  name: string;
  version: string;
  pid: number;
  socket: string;
  uptime_ms: number;
  controller: { spec: string | null; file: string | null; class: string; embedded: boolean };
  python: { executable: string; found: string; version: string | null; codec: string | null };
  state: "starting" | "ready" | "backing off" | "unavailable" | "stopping";
  reason: string | null;
  workers: {
    pid: number;
    uptime_ms: number;
    ready_ms: number;
    calls: number;
    rss_bytes: number;
    running: { call: number; method: string; age_ms: number }[];
  }[];
  queued: number;
  in_flight: number;
  connections: number;
  calls: number;
  restarts: number;
  last_exit: { exit: { code: number } | { signal: number }; ran_ms: number; stderr: string[] } | null;
  properties: string[];
  [more: string]: any;
}

/** What a `Backend` has besides the controller's methods. */
export interface BackendMembers<M = AnyMethods> {
  call(method: string, params?: Params | null, options?: CallOptions): Promise<any>;
  setProperty(name: string, value: unknown): Promise<any>;
  getProperty(name: string): Promise<any>;
  set(name: string, value: unknown): Promise<any>;
  get(name: string): Promise<any>;
  status(): Promise<Status>;
  onMessage(callback: (data: any, message: Message) => void, options?: MessageOptions): () => void;
  /** The daemon's log, and what Python prints; and where lines are missing, a `Gap`. Returns what ends it. */
  onLog(callback: (line: LogLine | Gap) => void, options?: LogOptions): () => void;
  /** Refuses later calls, waits for the answers of earlier ones, cancels open streams, and disconnects. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
  /** The methods by name, those too that are called as a member here. */
  readonly methods: MethodCalls<M>;
  /** The methods as streams of their partial results. */
  readonly stream: StreamCalls<M>;
}

export type Backend<M = AnyMethods> = BackendMembers<M> & Omit<MethodCalls<M>, keyof BackendMembers>;

export interface ConnectOptions extends InstanceOptions {
  /**
   * Where no daemon answers, the given `controller` is started, else what the instance's config names. `true`: else a
   * controller that is found nearby or the example, as `Bindings` does. `false`: none, as with `BASKD_START=0`.
   */
  start?: boolean;
  /** How long a call waits for a lost connection to come back; 30 seconds unless given. */
  patienceMs?: number;
}

export declare function connect<M = AnyMethods>(options?: ConnectOptions): Promise<Backend<M>>;

/**
 * Every error of this package. `name` is PROTOCOL.md's, as `"BackendCrashed"`; `code` is its number, or a word where
 * the error is the client's own: `"NOT_REACHED"`, `"NOT_INSTALLED"`, `"START_FAILED"`, `"WRONG_CONTROLLER"`,
 * `"UNSAFE_SOCKET"`, `"USAGE"`, `"DISCONNECTED"`, `"CLOSED"`, `"ABORT_ERR"`, or a system's, as `"EACCES"`.
 */
export declare class BaskdError extends Error {
  constructor(message: string, options: { code: number | string; name?: string; data?: unknown; cause?: unknown });
  code: number | string;
  data: any;
}

/** The Python method raised. Its `cause`, printed, is Python's traceback. */
export declare class MethodError extends BaskdError {
  constructor(message: string, data: { type?: string; message?: string; traceback?: string });
  /** The class of the exception, as `"ValueError"`. */
  type: string;
  traceback: string;
}

/** The connection was lost while the call was under way: it may or may not have run. */
export declare class Disconnected extends BaskdError {
  constructor(cause?: unknown, method?: string);
}

/** No daemon answers. */
export declare class NotReached extends BaskdError {
  constructor(message: string, cause?: unknown);
}

/** The object was closed. */
export declare class Closed extends BaskdError {
  constructor(message: string);
}

/** An AbortSignal was aborted; `cause` is its reason. */
export declare class AbortError extends BaskdError {
  constructor(reason: unknown, message?: string);
}
