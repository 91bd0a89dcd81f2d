/**
 * A listener that throws is no reason to lose the connection, nor for the next one to miss the message: its error goes
 * where an event listener's goes.
 * @param {(...args: any[]) => unknown} listener
 * @param {any[]} args
 */
export function tellListener(listener, ...args) {
  try {
    listener(...args);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** @typedef {{ restarted: true } | { dropped: number }} Gap the connection was lost meanwhile, or the reader too slow */

/**
 * Tells that messages may be missing. Whoever has no ear for that has it said on stderr: it is nothing that a listener
 * for data could take.
 * @param {((gap: Gap) => void) | undefined} onGap
 * @param {Gap} gap
 */
export function tellGap(onGap, gap) {
  if (onGap) {
    tellListener(onGap, gap);
    return;
  }
  const why =
    "dropped" in gap
      ? `${gap.dropped} were dropped, since they were not read fast enough`
      : "the connection to baskd was lost meanwhile";
  process.emitWarning(`messages are missing: ${why}. Give \`onGap\` to onMessage to be told`, "BaskdWarning");
}

/**
 * The end of a subscription that the daemon refuses. Who asked for it must not miss that nothing will come.
 * @param {((error: Error) => void) | undefined} onError
 * @param {Error} error
 */
export function tellRefused(onError, error) {
  if (onError) tellListener(onError, error);
  else void Promise.reject(error);
}
