const FIRST_MS = 100;
const LONGEST_MS = 2000;

/**
 * How long to wait before the next try to connect. Random between half and the whole, so that the many clients of a
 * daemon that restarts don't come back in step: from 50 ms at first to 2 s.
 * @param {number} failures tries that failed since an answer was last seen
 * @param {number} [random] from 0 to 1
 * @returns {number} milliseconds
 */
export function backoff(failures, random = Math.random()) {
  const whole = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(failures, 16));
  return whole * (0.5 + random / 2);
}
