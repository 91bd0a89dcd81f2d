// The Node client of this repository: calls and streams over one connection, some under way at all times.

import { connect } from "../../clients/node/baskd.js";

const UNDER_WAY = 8;
const wrong = [];
let number = Number(process.env.FIRST);
let stopping = false;
process.stdin.on("end", () => {
  stopping = true;
});
process.stdin.resume();

const backend = await connect({ socket: process.env.BASKD_SOCKET, start: false });

async function call(number) {
  if (number % 5 === 0) return await backend.call("beside", [number]);
  if (number % 7 !== 0) return await backend.plain(number);
  const stream = backend.stream.generator([number]);
  const items = [];
  for await (const item of stream) items.push(item);
  if (items.length !== 1 || items[0] !== number) throw new Error(`the items were ${items}`);
  return await stream.result;
}

async function keepCalling() {
  while (!stopping) {
    const mine = number++;
    try {
      const result = await call(mine);
      if (result !== mine) wrong.push({ number: mine, result });
    } catch (error) {
      wrong.push({ number: mine, error: `${error.name}: ${error.message}`, data: error.data });
    }
  }
}

const first = number;
await Promise.all(Array.from({ length: UNDER_WAY }, keepCalling));
await backend.close();
console.log(JSON.stringify({ first, end: number, wrong }));
