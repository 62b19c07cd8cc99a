// Stock clients of three generations behind one factory.
import { createRequire } from 'node:module';
import * as engine6 from 'engine.io-client';
import { Inbox, eventOf, within, defaultLimit } from './wait.mjs';

const require = createRequire(import.meta.url);
const libraries = {
  2: require('socket.io-client-2'),
  3: require('socket.io-client-3').io,
  4: require('socket.io-client-4').io,
};
const parsers = {
  2: require('socket.io-msgpack-parser-2'),
  3: require('socket.io-msgpack-parser'),
  4: require('socket.io-msgpack-parser'),
};

export const versions = [2, 3, 4];
export const transports = ['polling', 'websocket', 'upgrade'];

/** Every version with every way to a connection. */
export const combinations = versions.flatMap((version) =>
  transports.map((transport) => ({ version, transport, name: `v${version} ${transport}` })),
);

const transportLists = { polling: ['polling'], websocket: ['websocket'], upgrade: ['polling', 'websocket'] };

/**
 * A stock client that is not connected yet: the caller adds its listeners first,
 * then waits for connected(). Credentials go where each version puts them: in the
 * auth object from v3 on, in the query for v2.
 *
 * @param {string} url
 * @param {{version?: 2|3|4, transport?: string, namespace?: string, auth?: object,
 *   msgpack?: boolean, options?: object}} spec
 */
export function makeClient(url, { version = 4, transport = 'websocket', namespace = '/', auth = {}, msgpack = false, options = {} } = {}) {
  const credentials = version === 2 ? { query: { ...auth, ...options.query } } : { auth };
  const client = libraries[version](url + namespace, {
    forceNew: true,
    reconnection: false,
    transports: transportLists[transport],
    ...(msgpack ? { parser: parsers[version] } : {}),
    ...options,
    ...credentials,
  });
  client.spec = { version, transport };
  return client;
}

/** Waits until the client is connected and, where it upgrades, until it has upgraded. */
export async function connected(client, ms = defaultLimit) {
  if (!client.connected) {
    await within(
      ms,
      new Promise((resolve, reject) => {
        client.once('connect', resolve);
        // v2 calls a refusal by the server "error", and so does its manager a failed transport.
        for (const name of ['connect_error', 'error']) client.once(name, (e) => reject(asError(e)));
      }),
      `client v${client.spec.version} did not connect`,
    );
  }
  if (client.spec.transport === 'upgrade') await upgraded(client, ms);
  return client;
}

export async function upgraded(client, ms = defaultLimit) {
  const engine = client.io.engine;
  if (engine.transport.name !== 'websocket') await eventOf(engine, 'upgrade', ms);
  return client;
}

function asError(e) {
  return e instanceof Error ? e : new Error(`refused: ${JSON.stringify(e)}`);
}

/** Waits for the refusal of a CONNECT: {message, data} from v3 on; v2 gets the packet's data as it is. */
export async function refusal(client, ms = defaultLimit) {
  const [reason] = await eventOf(client, client.spec.version === 2 ? 'error' : 'connect_error', ms);
  return reason;
}

/** Collects the argument arrays of one event. */
export function inboxOf(client, event) {
  const inbox = new Inbox(`client v${client.spec.version} got no "${event}"`);
  client.on(event, (...args) => inbox.put(args));
  return inbox;
}

/**
 * Collects every event packet's data, names included, the way the client's parser
 * gave it. onevent is the same in all versions; onAny is not in v2.
 */
export function everythingOf(client) {
  const inbox = new Inbox(`client v${client.spec.version} got no event`);
  const original = client.onevent;
  client.onevent = function onevent(packet) {
    inbox.put([...packet.data]);
    return original.call(this, packet);
  };
  return inbox;
}

/** Emits with an acknowledgement and returns its arguments. */
export function ask(client, event, ...args) {
  return within(
    defaultLimit,
    new Promise((resolve) => client.emit(event, ...args, (...answer) => resolve(answer))),
    `client v${client.spec.version} got no ack of "${event}"`,
  );
}

/** The Engine.IO client of a generation: 3 is what client v2 uses. */
export const engineClients = {
  3: createRequire(require.resolve('socket.io-client-2'))('engine.io-client'),
  4: engine6.Socket,
};
