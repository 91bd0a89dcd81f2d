import { IpcProvider } from "web3-providers-ipc";
import { play } from "./script.mjs";

const provider = new IpcProvider(process.env.BASKD_SOCKET);
let id = 0;

async function request(method, params) {
  id += 1;
  const response = await provider.request({ jsonrpc: "2.0", id, method, params });
  if (response.error) throw response.error;
  return response.result;
}

await play(request, (error) => error.code);
provider.disconnect();
