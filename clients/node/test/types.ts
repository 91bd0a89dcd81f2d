/** Compiled by `npm run check`, never run: that the code is what the types say, and that they are good to use. */

import * as package_ from "../baskd.js";
import CodeBindings from "../python_bindings.js";
import CodeRouter, { callOnce as codeCallOnce } from "../router.js";
import type * as Types from "../types/baskd.js";

// The code has what is declared.
export const declared: typeof Types = package_;
export const bindings: typeof Types.Bindings = CodeBindings;
export const router: typeof Types.Router = CodeRouter;
export const callOnce: typeof Types.callOnce = codeCallOnce;

// What a user writes.
declare const connect: typeof Types.connect;

interface Search {
  search(params: { text: string }): { hits: string[] };
  increment(by: number): { counter: number };
  close(): string;
}

export async function use(): Promise<void> {
  const loose = await connect();
  const counter: number = (await loose.increment({ by: 5 })).counter;
  for await (const item of loose.stream.testStream()) console.log(item, counter);

  const typed = await connect<Search>({ name: "search" });
  const hits: string[] = (await typed.search({ text: "a" })).hits;
  const closed: string = await typed.methods.close();
  const nothing: Promise<void> = typed.close();
  const stream = typed.stream.search({ text: "a" }, { window: 8, signal: AbortSignal.timeout(1) });
  const result: { hits: string[] } = await stream.result;
  // @ts-expect-error -- no such method
  await typed.serch();
  // @ts-expect-error -- a number
  await typed.increment("5");
  const again: any = await typed.call("search", { text: "a" }, { idempotent: true, timeoutMs: 5 });
  const leave: () => void = typed.onMessage((data, { method }) => console.log(data, method), {
    onGap: (gap) => console.log("dropped" in gap ? gap.dropped : gap.restarted, again),
    onError: (error) => console.log(error.message),
  });
  typed.onLog((line) => console.log("line" in line ? line.line : line), { keepAlive: true })();
  new package_.Bindings({}, { start: false }).onMessage(console.log, { onGap: console.log });
  // @ts-expect-error -- a stream is never sent again
  typed.stream.search({ text: "a" }, { idempotent: true });
  leave();
  await nothing;
  console.log(hits, closed, result, (await typed.status()).state);
}
