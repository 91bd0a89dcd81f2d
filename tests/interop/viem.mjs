import { createClient } from "viem";
import { ipc } from "viem/node";
import { play } from "./script.mjs";

const client = createClient({ transport: ipc(process.env.BASKD_SOCKET, { retryCount: 0 }) });

await play(
  (method, params) => client.request({ method, params }),
  (error) => error.walk((cause) => typeof cause.code === "number").code,
);
process.exit(0);
