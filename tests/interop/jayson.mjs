import jayson from "jayson/promise/index.js";
import { play } from "./script.mjs";

const client = jayson.Client.tcp({ path: process.env.BASKD_SOCKET });

async function request(method, params) {
  const response = await client.request(method, params);
  if (response.error) throw response.error;
  return response.result;
}

await play(request, (error) => error.code);
// A batch and a notification, which the others have no functions for.
const batch = [
  client.request("increment", { by: 1 }, undefined, false),
  client.request("increment", { by: 2 }, null, false),
  client.request("increment", {}, "text", false),
];
const answers = await client.request(batch);
console.log(JSON.stringify({ batch: answers.map((answer) => answer.result) }));
