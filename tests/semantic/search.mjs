// One search by the Node client: its hits as a JSON array.

import { connect } from "../../clients/node/baskd.js";

const backend = await connect({ socket: process.env.BASKD_SOCKET });
const hits = [];
for await (const hit of backend.stream.search({ query: process.argv[2], k: 5 })) hits.push(hit);
await backend.close();
console.log(JSON.stringify(hits));
