// Waiting with a limit, so that a case that hangs says what it waited for.

export const defaultLimit = 15_000;

/** The promise's result, or an error that names what did not happen within `ms`. */
export function within(ms, promise, what) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${ms} ms passed: ${typeof what === 'function' ? what() : what}`)), ms);
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

/** The first event of a name from an emitter (Node's, or component-emitter), as its argument array. */
export function eventOf(emitter, name, ms = defaultLimit) {
  return within(ms, new Promise((resolve) => emitter.once(name, (...args) => resolve(args))), `no "${name}"`);
}

/**
 * Calls `check` until it returns something truthy. For states that nothing
 * announces, such as the server having noticed a broken connection.
 */
export async function eventually(check, what, ms = defaultLimit) {
  const end = Date.now() + ms;
  for (;;) {
    const result = await check();
    if (result) return result;
    if (Date.now() > end) throw new Error(`${ms} ms passed: ${typeof what === 'function' ? what() : what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A list that can be waited on: put() adds, next() takes the oldest. */
export class Inbox {
  #items = [];
  #waiting = [];
  #what;

  constructor(what = 'nothing came') {
    this.#what = what;
  }

  put(item) {
    const waiter = this.#waiting.shift();
    if (waiter) waiter(item);
    else this.#items.push(item);
  }

  /** What has come and was not taken. */
  get waiting() {
    return this.#items;
  }

  next(ms = defaultLimit) {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    let waiter;
    const item = new Promise((resolve) => this.#waiting.push((waiter = resolve)));
    return within(ms, item, this.#what).catch((error) => {
      this.#waiting = this.#waiting.filter((w) => w !== waiter);
      throw error;
    });
  }

  async take(n, ms = defaultLimit) {
    const items = [];
    const end = Date.now() + ms;
    while (items.length < n) {
      try {
        items.push(await this.next(Math.max(1, end - Date.now())));
      } catch (error) {
        throw new Error(`${error.message} (${items.length} of ${n} came)`);
      }
    }
    return items;
  }

  /** Takes items until one passes; the skipped ones are lost. */
  async find(passes, ms = defaultLimit) {
    const end = Date.now() + ms;
    for (;;) {
      const item = await this.next(Math.max(1, end - Date.now()));
      if (passes(item)) return item;
    }
  }
}
