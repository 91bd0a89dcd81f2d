import { AbortError, BaskdError } from "./errors.js";

/** How much later than the daemon the client looks at a call's time itself, for when the daemon can't be asked. */
const TIMEOUT_GRACE_MS = 250;

/** The longest that setTimeout can wait; a longer one would end at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * Watches for what ends a wait early: an abort, or too much time.
 * @param {AbortSignal | undefined} signal
 * @param {number | undefined} timeoutMs
 * @param {string} method for the message
 * @param {(error: BaskdError) => void} giveUp called at most once
 * @returns {{ stop: () => void }}
 */
export function watched(signal, timeoutMs, method, giveUp) {
  const onAbort = () => giveUp(new AbortError(signal?.reason));
  const late = () => giveUp(new BaskdError(`${method} had no answer within ${timeoutMs} ms`, { code: -32023 }));
  const timer =
    timeoutMs === undefined || timeoutMs > LONGEST_TIMER_MS
      ? undefined
      : setTimeout(late, Math.min(timeoutMs + TIMEOUT_GRACE_MS, LONGEST_TIMER_MS));
  signal?.addEventListener("abort", onAbort, { once: true });
  return {
    stop() {
      signal?.removeEventListener("abort", onAbort);
      clearTimeout(timer);
    },
  };
}
