import { WebSocket } from "ws";
import { play } from "./script.mjs";

const socket = new WebSocket(`ws+unix:${process.env.BASKD_SOCKET}:/`);
await new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject));

const waiting = new Map();
const items = [];
let ended;
const end = new Promise((resolve) => {
  ended = resolve;
});
socket.on("message", (data) => {
  const message = JSON.parse(data.toString());
  if (message.method) {
    if (message.params.error) ended();
    else items.push(message.params.result);
    return;
  }
  const { resolve, reject } = waiting.get(message.id);
  waiting.delete(message.id);
  if (message.error) reject(message.error);
  else resolve(message.result);
});

let last = 0;
function request(method, params) {
  last += 1;
  socket.send(JSON.stringify({ jsonrpc: "2.0", id: last, method, params }));
  return new Promise((resolve, reject) => waiting.set(last, { resolve, reject }));
}

await play(request, (error) => error.code);
await request("stream.call", { method: "testStream" });
await end;
const pong = new Promise((resolve) => socket.on("pong", (data) => resolve(data.toString())));
socket.ping("are you there");
const said = { items, pong: await pong };
const closed = new Promise((resolve) => socket.on("close", resolve));
socket.close(1000);
console.log(JSON.stringify({ ...said, code: await closed }));
