/** Properties that were set here, and a daemon that may have lost them. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Bindings } from "../baskd.js";
import { fakeDaemon, LATER } from "./support/fake.js";

describe("properties that were set here", () => {
  /**
   * @param {import("node:test").TestContext} t
   * @param {Record<string, import("./support/fake.js").Method>} [methods]
   */
  async function remembering(t, methods) {
    /** @type {Map<string, any>} */
    const there = new Map();
    const fake = await fakeDaemon(t, {
      setProperty({ params: { name, value } }) {
        there.set(name, value);
        return value;
      },
      "daemon.status": () => ({ properties: [...there.keys()] }),
      twice: () => LATER,
      ...methods,
    });
    const chat = new Bindings({ model: "a", apiKey: "k1" }, { socket: fake.path });
    t.after(() => chat.end().catch(() => {}));
    await chat.setProperty("apiKey", "k2");
    return { fake, chat, there };
  }

  test("are left as they are in a daemon that has them", async (t) => {
    const { fake, chat, there } = await remembering(t);
    there.set("model", "somebody else's");
    fake.drop();
    await chat.echo();
    assert.deepEqual(
      [...there],
      [
        ["model", "somebody else's"],
        ["apiKey", "k2"],
      ],
    );
    assert.equal(fake.count("setProperty"), 3);
  });

  test("are set again, before any call, in a daemon that has lost them", async (t) => {
    const { fake, chat, there } = await remembering(t);
    const call = chat.twice();
    await fake.told("twice");
    await fake.stop();
    await assert.rejects(call, { name: "Disconnected" });
    there.delete("apiKey");
    fake.received.length = 0;
    await fake.restart();
    await chat.echo();
    assert.deepEqual(
      fake.received.map(({ method, params }) => [method, params?.value]),
      [
        ["daemon.status", undefined],
        ["setProperty", "k2"],
        ["echo", undefined],
      ],
    );
  });

  test("are told of, once, if they are refused then", async (t) => {
    const { fake, chat, there } = await remembering(t);
    there.clear();
    fake.methods.setProperty = ({ params: { name } }) => {
      if (name === "model") throw { code: -32028, message: "no more", data: { name } };
      there.set(name, true);
      return true;
    };
    fake.drop();
    await assert.rejects(chat.echo(), { name: "PropertyRefused" });
    assert.deepEqual(await chat.echo(1), [1]);
    assert.deepEqual([...there.keys()], ["apiKey"]);
  });

  test("are tried again before the next call if Python could not take them", async (t) => {
    const { fake, chat, there } = await remembering(t);
    there.clear();
    const { setProperty } = fake.methods;
    fake.methods.setProperty = () => {
      throw { code: -32022, message: "Python can't start", data: { reason: "x" } };
    };
    fake.drop();
    await assert.rejects(chat.echo(), { name: "BackendUnavailable" });
    fake.methods.setProperty = setProperty ?? (() => null);
    assert.deepEqual(await chat.echo(1), [1]);
    assert.deepEqual(
      [...there],
      [
        ["model", "a"],
        ["apiKey", "k2"],
      ],
    );
  });

  test("the first ones survive a daemon that dies with them", async (t) => {
    let deaths = 0;
    const fake = await fakeDaemon(t, {
      setProperty(_, connection) {
        if (deaths++ === 0) connection.socket.destroy();
        return true;
      },
    });
    const chat = new Bindings({ model: "a" }, { socket: fake.path });
    assert.deepEqual(await chat.echo(1), [1]);
    await chat.end();
    assert.equal(fake.count("setProperty"), 2);
  });
});
