/**
 * One workload, from Node: the Node client, the seed's way over python-shell, or pythonia. Its one argument is JSON, as
 * tests/bench/harness/contenders.py makes it; it prints what it measured, as JSON.
 */
import { fileURLToPath } from "node:url";

const wanted = JSON.parse(process.argv[2]);
const now = () => performance.now();

/** Each gives `call()`, one small call; `stream(count, onItem)`; `counted(result)`, the number in a call's result; `end()`. */
const WAYS = {
  async baskd() {
    const { connect } = await import("../../../../clients/node/baskd.js");
    const backend = await connect({ socket: wanted.socket });
    return {
      call: () => backend.increment({ by: 1 }),
      counted: (result) => result.counter,
      async stream(count, onItem) {
        for await (const item of backend.stream.items({ count })) onItem(item);
      },
      end: () => backend.close(),
    };
  },

  async "python-shell"() {
    const { default: ChatModel } = await import("./seed/python_bindings.js");
    const chat = new ChatModel(fileURLToPath(new URL("./seed/router.py", import.meta.url)), wanted.python);
    return {
      call: () => chat.increment({ by: 1 }),
      counted: (result) => result.counter,
      async stream(count, onItem) {
        chat.onMessage(onItem);
        await chat.sendItems({ count });
      },
      end: () => chat.end(),
    };
  },

  async pythonia() {
    const { python } = await import("pythonia");
    const bare = await python(`${wanted.peers}/bare.py`);
    return {
      call: () => bare.increment(1),
      counted: (result) => result,
      async stream(count, onItem) {
        for await (const item of await bare.items(count)) onItem(item);
      },
      end: () => python.exit(),
    };
  },
};

async function sequential({ call }) {
  const times = [];
  const begin = now() + 1000 * wanted.warmUp;
  const end = begin + 1000 * wanted.seconds;
  for (;;) {
    const before = now();
    await call();
    const after = now();
    if (before >= begin) times.push(after - before);
    if (after >= end) break;
  }
  times.sort((a, b) => a - b);
  const at = (share) => 1000 * times[Math.floor((times.length - 1) * share)];
  return {
    per_second: (1000 * times.length) / times.reduce((sum, time) => sum + time, 0),
    latency: { count: times.length, p50_us: at(0.5), p90_us: at(0.9), p99_us: at(0.99) },
  };
}

async function inflight({ call }) {
  const begin = now() + 1000 * wanted.warmUp;
  const end = begin + 1000 * wanted.seconds;
  let count = 0;
  let last = begin;
  async function lane() {
    while (last < end) {
      await call();
      const after = now();
      if (after >= begin && last < end) {
        count += 1;
        last = after;
      }
    }
  }
  await Promise.all(Array.from({ length: 64 }, lane));
  return { per_second: (1000 * count) / (last - begin) };
}

async function stream({ stream }) {
  let seconds = 0;
  for (const count of [wanted.items / 10, wanted.items]) {
    let seen = 0;
    const before = now();
    await stream(count, () => {
      seen += 1;
    });
    seconds = (now() - before) / 1000;
    if (seen !== count) throw new Error(`${seen} items instead of ${count}`);
  }
  return { per_second: wanted.items / seconds };
}

const workloads = { sequential, inflight, stream };
const way = await WAYS[wanted.way]();
// All of them do the work that is measured: the second call counts on from the first.
const [first, second] = [await way.call(), await way.call()].map(way.counted);
if (!Number.isInteger(first) || second !== first + 1) throw new Error(`${wanted.way} counts ${first}, ${second}`);
const measured = await workloads[wanted.workload](way);
await way.end();
console.log(JSON.stringify(measured));
