// The reference: socket.io's own server with as much of ws-api in front of it as
// the suite needs to ask plain Socket.IO questions. It takes the config file of
// `holdfast dev` and prints its addresses in the same way. What holdfast does
// beyond Node is not imitated here: such cases are skipped against it.
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { createRequire } from 'node:module';
import { Server } from 'socket.io';

const require = createRequire(createRequire(import.meta.url).resolve('socket.io'));
const { Server: EngineServer } = require('engine.io');

const { values: flags } = parseArgs({
  options: { config: { type: 'string' }, listen: { type: 'string' }, api: { type: 'string' } },
});
const config = flags.config ? JSON.parse(readFileSync(flags.config, 'utf8')) : { recovery: { enabled: true } };

function milliseconds(text, otherwise) {
  if (!text) return otherwise;
  const [, number, unit] = /^(\d+)(ms|s|m)$/.exec(text);
  return number * { ms: 1, s: 1000, m: 60_000 }[unit];
}

function bytes(text, otherwise) {
  if (!text) return otherwise;
  const [, number, unit] = /^(\d+)([KM]?)B?$/.exec(String(text));
  return number * { '': 1, K: 1000, M: 1_000_000 }[unit];
}

const engineOptions = {
  allowEIO3: true,
  pingInterval: milliseconds(config.heartbeat?.interval, 25_000),
  pingTimeout: milliseconds(config.heartbeat?.timeout, 20_000),
  upgradeTimeout: milliseconds(config.timeouts?.upgrade, 10_000),
  maxHttpBufferSize: bytes(config.limits?.max_payload, 1_000_000),
};
const http = createServer((request, response) => response.writeHead(404).end());
const io = new Server(http, {
  ...engineOptions,
  connectTimeout: milliseconds(config.timeouts?.connect, 45_000),
  serveClient: Boolean(config.client_bundle),
  ...(config.recovery?.enabled ? { connectionStateRecovery: { maxDisconnectionDuration: 120_000 } } : {}),
  ...(config.cors?.origins?.length ? { cors: { origin: config.cors.origins, credentials: true } } : {}),
});

// --- Events to the backend ---------------------------------------------------

const routes = config.routes ?? [{ event: '*', ack: 'durable' }];
const wildcard = (pattern, text) => new RegExp(`^${pattern.split('*').map((p) => p.replace(/[^\w]/g, '\\$&')).join('.*')}$`).test(text);
const routeOf = (type, event) => routes.find((r) => (r.type ?? 'message') === type && (type !== 'message' || wildcard(r.event ?? '*', event)));

async function callBackend(name, event) {
  const response = await fetch(`${config.backends[name].url}/holdfast.v1.BackendService/HandleEvent`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ id: randomUUID(), headers: { 'X-Trace-ID': randomUUID() }, ...event }),
  });
  if (!response.ok) throw new Error(`the backend answered ${response.status}`);
  return response.json();
}

function detach(value, attachments) {
  if (Buffer.isBuffer(value)) return { _placeholder: true, num: attachments.push(value.toString('base64')) - 1 };
  if (Array.isArray(value)) return value.map((v) => detach(v, attachments));
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, detach(v, attachments)]));
  return value;
}

function attach(value, attachments) {
  if (value?._placeholder === true) return Buffer.from(attachments[value.num], 'base64');
  if (Array.isArray(value)) return value.map((v) => attach(v, attachments));
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, attach(v, attachments)]));
  return value;
}

function toPayload(args) {
  const attachments = [];
  const json = JSON.stringify(detach(args, attachments));
  return attachments.length > 0 ? { json, attachments } : { json };
}

const fromPayload = (payload) => attach(JSON.parse(payload?.json ?? '[]'), payload?.attachments ?? []);

const guidOf = (socket) => socket.handshake.auth?.guid ?? socket.handshake.query?.guid;

const clientOf = (socket) => ({
  id: socket.id,
  namespace: socket.nsp.name,
  ...(socket.data.uid ? { uid: socket.data.uid } : {}),
  ...(socket.data.profile ? { profile: socket.data.profile } : {}),
  rooms: [...socket.rooms].filter((room) => room !== socket.id && !room.startsWith('user:')),
  node: 'reference',
  transport: socket.conn.transport.name,
  protocol: socket.conn.protocol === 3 ? 'socket.io/4' : 'socket.io/5',
});

const contextOf = (socket) => ({
  client: clientOf(socket),
  query: Object.fromEntries(Object.entries(socket.handshake.query).map(([k, v]) => [k, String(v)])),
});

async function admit(socket, next) {
  const route = routeOf('connect');
  const guid = guidOf(socket);
  if (!route) {
    if (guid) socket.join(guid);
    return next();
  }
  const reply = await callBackend(route.backend, {
    ...contextOf(socket),
    type: 'EVENT_TYPE_CONNECT',
    auth: JSON.stringify(socket.handshake.auth ?? {}),
    payload: { json: '[]' },
  });
  if (reply.reject) {
    return next(Object.assign(new Error(reply.reject), reply.rejectData ? { data: JSON.parse(reply.rejectData) } : {}));
  }
  socket.data.uid = reply.uid;
  socket.data.profile = reply.profile;
  if (reply.uid) socket.join(`user:${reply.uid}`);
  for (const room of reply.joinRooms ?? []) socket.join(room);
  socket.data.pushesAfterConnect = reply.pushes ?? [];
  next();
}

function onConnection(socket) {
  for (const request of socket.data.pushesAfterConnect ?? []) push(request);
  let previous = Promise.resolve(); // one event of a session at a time
  socket.onAny((event, ...args) => {
    const answer = typeof args.at(-1) === 'function' ? args.pop() : null;
    previous = previous.then(() => onMessage(socket, event, args, answer));
  });
  socket.on('disconnect', (reason) => {
    const route = routeOf('disconnect');
    if (route) callBackend(route.backend, { ...contextOf(socket), type: 'EVENT_TYPE_DISCONNECT', reason }).catch(() => {});
  });
}

async function onMessage(socket, event, args, answer) {
  const route = routeOf('message', event);
  if (!route) return;
  if (route.relay) {
    const rooms = clientOf(socket).rooms;
    if (rooms.length > 0) socket.to(rooms).emit(event, ...args);
  }
  if (route.backend) {
    try {
      const reply = await callBackend(route.backend, {
        ...contextOf(socket),
        type: 'EVENT_TYPE_MESSAGE',
        event,
        payload: toPayload(args),
        wantsAck: Boolean(answer),
      });
      for (const room of reply.joinRooms ?? []) socket.join(room);
      for (const room of reply.leaveRooms ?? []) socket.leave(room);
      for (const request of reply.pushes ?? []) push(request);
      if (route.ack === 'backend') answer?.(...fromPayload(reply.ack));
    } catch (error) {
      if (route.ack === 'backend') answer?.({ error: { code: 'unavailable', message: error.message } });
    }
  }
  if (route.ack === 'durable') answer?.();
}

for (const name of (config.endpoints ?? []).find((e) => e.protocol === 'socket.io')?.namespaces ?? ['/']) {
  const parts = name.split('*').map((p) => p.replace(/[^\w/]/g, '\\$&'));
  const namespace = io.of(parts.length > 1 ? new RegExp(`^${parts.join('[^/]*')}$`) : name);
  namespace.use((socket, next) => admit(socket, next).catch(next));
  namespace.on('connection', onConnection);
}

// --- Raw Engine.IO -------------------------------------------------------------

const rawSessions = new Map();
for (const endpoint of (config.endpoints ?? []).filter((e) => e.protocol === 'engine.io')) {
  const engine = new EngineServer(engineOptions);
  engine.attach(http, { path: endpoint.path });
  engine.on('connection', (socket) => {
    rawSessions.set(socket.id, socket);
    const client = { id: socket.id, protocol: `engine.io/${socket.protocol}`, transport: socket.transport.name };
    const tell = async (kind, more) => {
      const route = routeOf(kind, '');
      if (!route) return;
      const reply = await callBackend(route.backend, { type: `EVENT_TYPE_${kind.toUpperCase()}`, client, ...more });
      (reply.pushes ?? []).forEach(push);
    };
    tell('connect', { payload: { json: '[]' } });
    socket.on('message', (data) => tell('message', { payload: toPayload([data]) }));
    socket.on('close', (reason) => {
      rawSessions.delete(socket.id);
      tell('disconnect', { reason });
    });
  });
}

// --- ws-api ----------------------------------------------------------------------

const spaceOf = (target) => io._nsps.get(target.namespace ?? '/');

function roomOf(target) {
  if (target.room !== undefined) return target.room;
  if (target.user !== undefined) return `user:${target.user}`;
  return target.client;
}

function operatorOf(targets, filter) {
  const space = spaceOf(targets[0]);
  const all = targets.some((t) => t.all);
  const operator = all ? space.except([]) : space.to(targets.map(roomOf));
  return filter?.exceptClients?.length ? operator.except(filter.exceptClients) : operator;
}

function push(request) {
  const args = fromPayload(request.payload);
  const [{ client }] = request.targets;
  if (!request.event && rawSessions.has(client)) {
    args.forEach((arg) => rawSessions.get(client).send(arg));
  } else if (spaceOf(request.targets[0])) {
    const operator = operatorOf(request.targets, request.filter);
    (request.volatile ? operator.volatile : operator).emit(request.event, ...args);
  }
  return { messageId: randomUUID(), nodes: 1 };
}

const socketsOf = async (target) => (await operatorOf([target]).fetchSockets()).map((s) => spaceOf(target).sockets.get(s.id));

const methods = {
  'PushService/Push': push,
  async 'PushService/PushAndWait'(request) {
    const sockets = await socketsOf(request.targets[0]);
    const limit = Number(request.ackTimeout.replace('s', '')) * 1000;
    const acks = [];
    await Promise.all(
      sockets.map(
        (socket) =>
          new Promise((resolve) => {
            socket.timeout(limit).emit(request.event, ...fromPayload(request.payload), (error, ...args) => {
              if (!error) acks.push({ client: socket.id, payload: toPayload(args) });
              resolve();
            });
          }),
      ),
    );
    return { messageId: randomUUID(), acks, missing: sockets.length - acks.length };
  },
  async 'ClientService/GetClient'({ id }) {
    for (const space of io._nsps.values()) {
      if (space.sockets.has(id)) return clientOf(space.sockets.get(id));
    }
    throw Object.assign(new Error('no such client'), { status: 404, code: 'not_found' });
  },
  async 'ClientService/ListClients'({ target, pageSize = 100, pageToken = '' }) {
    const clients = (await socketsOf(target)).map(clientOf).sort((a, b) => (a.id < b.id ? -1 : 1));
    const page = clients.filter((c) => c.id > pageToken).slice(0, pageSize);
    return { clients: page, nextPageToken: page.length === pageSize && page.at(-1) !== clients.at(-1) ? page.at(-1).id : '' };
  },
  async 'ClientService/CountClients'({ target }) {
    const clients = (await socketsOf(target)).map(clientOf);
    return { clients: String(clients.length), users: String(new Set(clients.map((c) => c.uid).filter(Boolean)).size) };
  },
  async 'ClientService/Join'({ target, rooms }) {
    const sockets = await socketsOf(target);
    for (const socket of sockets) socket.join(rooms);
    return { clients: sockets.length };
  },
  async 'ClientService/Leave'({ target, rooms }) {
    const sockets = await socketsOf(target);
    for (const socket of sockets) for (const room of rooms) socket.leave(room);
    return { clients: sockets.length };
  },
  async 'ClientService/Disconnect'({ target, allowReconnect }) {
    const sockets = await socketsOf(target);
    for (const socket of sockets) allowReconnect ? socket.conn.close() : socket.disconnect();
    return { clients: sockets.length };
  },
};

const api = createServer(async (request, response) => {
  const answer = (status, body) => response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
  if (request.url === '/metrics') return response.writeHead(200).end();
  const method = methods[request.url.replace('/holdfast.v1.', '')];
  if (!method) return answer(404, { code: 'unimplemented', message: request.url });
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  try {
    answer(200, await method(JSON.parse(Buffer.concat(chunks).toString('utf8'))));
  } catch (error) {
    answer(error.status ?? 500, { code: error.code ?? 'internal', message: error.message });
  }
});

// --- Start -------------------------------------------------------------------------

http.listen(0, '127.0.0.1', () => console.log(`clients  http://127.0.0.1:${http.address().port}`));
api.listen(0, '127.0.0.1', () => console.log(`api      http://127.0.0.1:${api.address().port}`));
