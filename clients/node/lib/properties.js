/** Errors of a property that this controller won't have: to set it again would end in the same way. */
const REFUSALS = new Set(["PropertyRefused", "InvalidParams", "MethodError"]);

/**
 * The properties that were set here, for a daemon that has lost them. A daemon keeps properties on disk, but not those
 * that are named like a secret, and a private one leaves nothing behind: when the next one is up, it lacks what its
 * client believes to have set. What it has is left as it is, for that may be newer.
 */
export class Properties {
  /** @type {Map<string, string>} the requests that set them, by their names */
  #set = new Map();

  /** @param {string} request that was answered with success: `setProperty` as JSON */
  wasSet(request) {
    const name = JSON.parse(request).params?.name;
    // One that is set again is set later than those between.
    this.#set.delete(name);
    this.#set.set(name, request);
  }

  /**
   * @param {any} status what a daemon says of itself
   * @returns {{ name: string, params: object }[]} what is to be set there, in order
   */
  missingFrom(status) {
    if (!Array.isArray(status?.properties)) return [];
    return [...this.#set]
      .filter(([name]) => !status.properties.includes(name))
      .map(([name, request]) => ({ name, params: JSON.parse(request).params }));
  }

  /**
   * @param {string} name of a property that could not be set again
   * @param {any} error
   */
  mayBeSetLater(name, error) {
    if (REFUSALS.has(error?.name)) this.#set.delete(name);
    return this.#set.has(name);
  }
}
