import ChatModel from "../python_bindings.js";

const chat = new ChatModel({ "model": "something" });

await chat.setProperty("tokenizer", 123);

const modelResponse = await chat.getModelPath();
console.log(modelResponse);       // { model: "something" }

const tokenizerResponse = await chat.getTokenizer();
console.log(tokenizerResponse);   // { tokenizer: 123 }

let response = await chat.increment({ by: 5 });
console.log("Incremented counter:", response.counter);

chat.onMessage(function (data) {
  console.log(data);              // streamed partial results
});

await chat.testStream();

await chat.end();
