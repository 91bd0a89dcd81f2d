// The Node client of this repository: calls and streams over one connection, ten under way at all times.

import { connect } from "../../clients/node/baskd.js";

const UNDER_WAY = 10;
const METHODS = ["echo", "work", "items"];
const property = JSON.parse(process.env.CRASH_PROPERTY);
const tally = { calls: 0, results: 0, crashed: 0, unbegun: [], other: [], longest_ms: 0 };
let stopping = false;
process.stdin.on("end", () => {
  stopping = true;
});
process.stdin.resume();

const backend = await connect({ socket: process.env.BASKD_SOCKET });

async function call(name, method) {
  if (method !== "items") return await backend.call(method, { n: name });
  const stream = backend.stream.items({ n: name });
  let next = 0;
  for await (const item of stream) {
    if (item !== next++) throw new Error(`item ${item} came where ${next - 1} was due`);
  }
  return await stream.result;
}

async function keepCalling() {
  while (!stopping) {
    const number = ++tally.calls;
    const name = `node-${number}`;
    const started = performance.now();
    try {
      const result = await call(name, METHODS[number % METHODS.length]);
      if (JSON.stringify(result) === JSON.stringify([name, property])) tally.results++;
      else tally.other.push({ call: name, result });
    } catch (error) {
      if (error.code === -32021 && error.data?.ran === "yes") tally.crashed++;
      else if (error.code === -32021 && error.data?.ran === "no") tally.unbegun.push(name);
      else tally.other.push({ call: name, error: String(error), code: error.code, data: error.data });
    }
    tally.longest_ms = Math.max(tally.longest_ms, performance.now() - started);
  }
}

await Promise.all(Array.from({ length: UNDER_WAY }, keepCalling));
await backend.close();
console.log(JSON.stringify(tally));
