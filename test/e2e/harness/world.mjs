// One server, one stub backend and the clients of a suite: made before its first
// case, closed after its last. Clients are closed after each case.
import { after, afterEach, before } from 'node:test';
import { Api } from './api.mjs';
import { StubBackend } from './backend.mjs';
import { connected, makeClient } from './clients.mjs';
import { startGateway } from './gateway.mjs';
import { cluster } from './target.mjs';

/** What dev switches on by itself stays off, so that a case sees only what it asks for. */
const quiet = { recovery: { enabled: false }, presence: { enabled: false } };

/** Routes for a config in which the backend hears and answers everything. */
export const everythingToBackend = [
  { type: 'connect', backend: 'app' },
  { type: 'disconnect', backend: 'app' },
  { event: '*', backend: 'app', ack: 'backend' },
];

/**
 * Registers the hooks of a suite.
 * @param {object} [config] merged over a quiet config that knows the backend "app"
 * @returns {World} usable inside cases and inside before()
 */
export function useWorld(config = {}) {
  const world = new World();
  before(() => world.start(config));
  afterEach(() => world.closeClients());
  after(() => world.stop());
  return world;
}

export class World {
  #clients = [];
  #rooms = 0;

  async start(config) {
    this.backend = await StubBackend.start();
    this.gateway = await startGateway({ ...quiet, backends: { app: { url: this.backend.url } }, ...config });
    this.url = this.gateway.url;
    this.api = new Api(this.gateway.api);
  }

  /** A room name that no other case uses. */
  room() {
    this.#rooms += 1;
    return `doc-${this.#rooms}`;
  }

  /** A client that may not be connected yet; closed after the case. */
  make(spec) {
    const client = makeClient(this.url, spec);
    this.closeAfter(() => client.close());
    return client;
  }

  /** A connected client, upgraded where its transport says so. */
  connect(spec) {
    return connected(this.make(spec));
  }

  /**
   * Lets what was pushed arrive at its gateway. A push is answered when it is in the
   * log; in a cluster it is on its way then, and nothing tells of its arrival.
   */
  async arrived() {
    if (cluster) await new Promise((resolve) => setTimeout(resolve, 200));
  }

  closeAfter(close) {
    this.#clients.push(close);
  }

  async closeClients() {
    for (const close of this.#clients.splice(0)) await close();
    this.backend.forget();
  }

  async stop() {
    await this.gateway?.stop();
    await this.backend?.stop();
  }
}
