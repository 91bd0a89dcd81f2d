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
