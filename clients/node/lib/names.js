/** Which property names of a Proxy are Python methods, and how a call's arguments become JSON-RPC params. */

/**
 * Names that JavaScript itself, its consoles and its test runners look up on any object they are handed. Routed, an
 * `await chat` or a `JSON.stringify(chat)` would become a remote call. A controller's method of such a name is reached
 * by `callMethod(name)` or `call(name)`.
 */
const NEVER_ROUTED = new Set([
  "then",
  "catch",
  "finally",
  "toJSON",
  "inspect",
  "nodeType",
  "tagName",
  "asymmetricMatch",
]);

/** Python's identifiers, less those with a leading underscore, which a controller never offers. */
const METHOD_NAME = /^\p{ID_Start}[\p{ID_Continue}]*$/u;

/**
 * @param {string | symbol} name
 * @returns {name is string}
 */
export function isRouted(name) {
  return typeof name === "string" && !NEVER_ROUTED.has(name) && METHOD_NAME.test(name);
}

/** @typedef {(method: string, receiver: any) => (...args: any[]) => unknown} Route what a method's name stands for */

/** How many methods' functions a Proxy keeps: more than a controller has, and few where names are made up. */
const MOST_KEPT = 1000;

/**
 * A Proxy that answers a member the object has with that member, and any other method name by its route.
 * @template {object} T
 * @param {T} target
 * @param {Route} route
 * @returns {T}
 */
export function routed(target, route) {
  /** @type {Map<string | symbol, unknown>} */
  const kept = new Map();
  const proxy = new Proxy(target, {
    get(object, name, receiver) {
      if (name in object) return Reflect.get(object, name, receiver);
      const known = receiver === proxy ? kept.get(name) : undefined;
      if (known !== undefined) return known;
      if (!isRouted(name)) return undefined;
      const made = route(name, receiver);
      if (receiver === proxy && kept.size < MOST_KEPT) kept.set(name, made);
      return made;
    },
  });
  return proxy;
}

/**
 * Nothing but methods, not even Object's.
 * @param {Route} route
 * @returns {any}
 */
export function onlyMethods(route) {
  return routed(Object.freeze(Object.create(null)), route);
}

/**
 * Base of a class whose instances route the names they don't have.
 * @type {new (route: Route) => { [method: string]: any }}
 */
export const Routed = class {
  /** @param {Route} route */
  constructor(route) {
    // A subclass's private fields are put on what its base's constructor returns. So they are the Proxy's own, and
    // `this` is the Proxy in every method, a user's subclass included.
    // biome-ignore lint/correctness/noConstructorReturn: see above
    return routed(this, route);
  }
};

/**
 * `f()` sends no params, `f({ by: 5 })` sends them by name, and `f(5)` or `f(1, 2)` by position.
 * @param {unknown[]} args
 * @returns {object | undefined}
 */
export function paramsOf(args) {
  let given = args.length;
  while (given > 0 && args[given - 1] === undefined) given--;
  if (given === 0) return undefined;
  if (given === 1 && isPlainObject(args[0])) return args[0];
  return args.slice(0, given);
}

/**
 * Params as `call` and `stream` take them: named, by position, or none.
 * @param {unknown} params
 * @returns {object | undefined}
 */
export function checkedParams(params) {
  if (params === undefined || params === null) return undefined;
  if (Array.isArray(params) || isPlainObject(params)) return params;
  throw new TypeError("params are an object of named ones or an array of positional ones");
}

/**
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
function isPlainObject(value) {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  // Any realm's Object.prototype is the one prototype that has none itself.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
