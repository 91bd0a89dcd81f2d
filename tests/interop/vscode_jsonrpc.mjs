import net from "node:net";
import { createMessageConnection, SocketMessageReader, SocketMessageWriter } from "vscode-jsonrpc/node";
import { play } from "./script.mjs";

const socket = net.connect(process.env.BASKD_SOCKET);
const connection = createMessageConnection(new SocketMessageReader(socket), new SocketMessageWriter(socket));

const items = [];
const end = new Promise((resolve) => {
  connection.onNotification("stream.item", (params) => {
    if (params.error) resolve();
    else items.push(params.result);
  });
});
connection.listen();

// An array is params by position, which this function takes one by one.
await play(
  (method, params) => connection.sendRequest(method, ...(Array.isArray(params) ? params : [params])),
  (error) => error.code,
);
await connection.sendRequest("stream.call", { method: "testStream" });
await end;
console.log(JSON.stringify({ items }));
connection.dispose();
socket.end();
