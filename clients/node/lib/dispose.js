/**
 * The symbol behind `await using`. A Node without it gets one of ours, which nobody asks for.
 * @type {typeof Symbol.asyncDispose}
 */
export const asyncDispose = Symbol.asyncDispose ?? /** @type {any} */ (Symbol("asyncDispose"));
