import { IpcSocketProvider, Network } from "ethers";
import { play } from "./script.mjs";

const network = new Network("baskd", 1);
const provider = new IpcSocketProvider(process.env.BASKD_SOCKET, network, { staticNetwork: network });

await play(
  (method, params) => provider.send(method, params),
  (error) => error.error.code,
);
await provider.destroy();
