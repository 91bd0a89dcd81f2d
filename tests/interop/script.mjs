// What each client's script does, by the client's own request function: some calls one after another, many at once, an
// error. Prints what came of it; test_clients.py judges.

/**
 * @param {(method: string, params: object) => Promise<unknown>} request gives the result
 * @param {(error: any) => unknown} codeOf finds the error code in what the client throws
 */
export async function play(request, codeOf) {
  await request("setProperty", { name: "model", value: "something" });
  await request("reset", {});
  const said = { model: await request("getModelPath", {}), incremented: await request("increment", { by: 5 }) };
  const many = await Promise.all(Array.from({ length: 50 }, () => request("increment", { by: 1 })));
  said.counters = many.map((result) => result.counter).sort((a, b) => a - b);
  // By position, as Ethereum's clients do.
  said.property = await request("getProperty", ["model"]);
  said.unknown = await request("incremnt", {}).then(
    (result) => ({ result }),
    (error) => codeOf(error),
  );
  said.after = await request("increment", { by: 0 });
  console.log(JSON.stringify(said));
}
