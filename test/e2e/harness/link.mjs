// A TCP connection's way through a network that can be bad: it is cut, or nothing
// gets through for a while.
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export class Link {
  #pairs = new Set();
  #stalled = new Set(); // directions in which nothing gets through: 'up', 'down'

  /** Listens on a free port, and passes connections on to `target`, "host:port", which may be set later. */
  static async start(target = '') {
    const link = new Link();
    link.target = target;
    link.server = createServer({ allowHalfOpen: true }, (near) => link.#pass(near));
    link.server.listen(0, '127.0.0.1');
    await once(link.server, 'listening');
    link.address = `127.0.0.1:${link.server.address().port}`;
    return link;
  }

  #pass(near) {
    const [host, port] = this.target.split(':');
    if (!port) return near.resetAndDestroy();
    const far = connect({ host, port: Number(port), allowHalfOpen: true });
    const pair = { near, far, held: new Set(this.#stalled) };
    this.#pairs.add(pair);
    this.#copy(pair, near, far, 'up');
    this.#copy(pair, far, near, 'down');
    return pair;
  }

  #copy(pair, from, to, direction) {
    from.on('data', (chunk) => to.write(chunk) || from.pause());
    to.on('drain', () => pair.held.has(direction) || from.resume());
    from.on('end', () => to.end());
    from.on('error', () => to.destroyed || to.resetAndDestroy());
    from.on('close', () => {
      this.#pairs.delete(pair);
      to.destroy();
    });
    if (pair.held.has(direction)) from.pause();
  }

  /** Ends every connection in the middle of whatever is on its way. */
  cut() {
    for (const { near, far } of this.#pairs) {
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
  }

  /** Holds what is on its way, and connections that are made now, until resume(). */
  stall(directions = ['up', 'down']) {
    for (const direction of directions) this.#stalled.add(direction);
    this.strand(directions);
  }

  /**
   * Holds what is on its way until resume(), and not the connections that are made from now
   * on: what an old one has sent may arrive after what a newer one has.
   */
  strand(directions = ['up', 'down']) {
    for (const { near, far, held } of this.#pairs) {
      for (const direction of directions) held.add(direction);
      if (held.has('up')) near.pause();
      if (held.has('down')) far.pause();
    }
  }

  resume() {
    this.#stalled.clear();
    for (const { near, far, held } of this.#pairs) {
      held.clear();
      near.resume();
      far.resume();
    }
  }

  stop() {
    this.server.close();
    this.cut();
  }
}
