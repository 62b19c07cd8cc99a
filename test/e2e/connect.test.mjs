// How clients of every generation get in, and what a connect backend decides.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { connectEvent, disconnectEvent } from './harness/backend.mjs';
import { combinations, connected, everythingOf, inboxOf, makeClient, refusal } from './harness/clients.mjs';
import { startGateway } from './harness/gateway.mjs';
import { PollingSession } from './harness/raw_http.mjs';
import { RawWebSocket } from './harness/raw_websocket.mjs';
import { holdfastOnly } from './harness/target.mjs';
import { eventOf } from './harness/wait.mjs';
import { everythingToBackend, useWorld } from './harness/world.mjs';

const isClient = (event, client) => event.client.id === client.id;

describe('without any config', () => {
  for (const { name, ...spec } of combinations) {
    it(`${name}: a stock client connects`, async (t) => {
      const gateway = await startGateway(null);
      t.after(() => gateway.stop());
      const client = makeClient(gateway.url, { ...spec, auth: { guid: 'doc-1' } });
      t.after(() => client.close());
      await connected(client);
      assert.equal(client.connected, true);
    });
  }
});

describe('connecting', () => {
  const world = useWorld();

  for (const { name, version, transport } of combinations) {
    it(`${name}: connects, has an ID, and its guid is its room`, async () => {
      const room = world.room();
      const client = await world.connect({ version, transport, auth: { guid: room } });
      assert.equal(typeof client.id, 'string');
      assert.notEqual(client.id, '');
      if (version === 2) assert.equal(client.id, client.io.engine.id);
      else assert.notEqual(client.id, client.io.engine.id);
      assert.equal(client.io.engine.transport.name, transport === 'polling' ? 'polling' : 'websocket');
      const { clients } = await world.api.listClients({ room });
      assert.equal(clients.length, 1);
      assert.deepEqual(clients[0].rooms, [room]);
      assert.equal(clients[0].protocol, version === 2 ? 'socket.io/4' : 'socket.io/5');
      const got = inboxOf(client, 'hello');
      await world.api.push({ room }, 'hello', [1]);
      assert.deepEqual(await got.next(), [1]);
    });

    it(`${name}: nothing comes that was not asked for`, async () => {
      const room = world.room();
      const client = world.make({ version, transport, auth: { guid: room } });
      const all = everythingOf(client);
      await connected(client);
      await world.connect({ version, transport, auth: { guid: room } });
      await world.api.push({ room }, 'marker', [1, 'two']);
      assert.deepEqual(await all.next(), ['marker', 1, 'two']);
      assert.deepEqual(all.waiting, []);
    });
  }

  it('a client without a guid is in no room', async () => {
    const client = await world.connect({});
    assert.deepEqual((await world.api.getClient(client.id)).rooms ?? [], []);
  });

  for (const eio of [3, 4]) {
    it(`EIO${eio}: the open packet has exactly its five keys`, async () => {
      const polling = await PollingSession.open(world.url, { eio });
      world.closeAfter(() => polling.close());
      assert.deepEqual(Object.keys(polling.handshake), ['sid', 'upgrades', 'pingInterval', 'pingTimeout', 'maxPayload']);
      assert.deepEqual({ ...polling.handshake, sid: '' }, { sid: '', upgrades: ['websocket'], pingInterval: 25000, pingTimeout: 20000, maxPayload: 1000000 });
      const ws = await RawWebSocket.open(world.url, { eio });
      world.closeAfter(() => ws.close());
      const open = await ws.next();
      assert.equal(open[0], '0');
      assert.deepEqual(JSON.parse(open.slice(1)).upgrades, []);
    });
  }

  it('EIO4: nothing is connected before the CONNECT packet', async () => {
    const ws = await RawWebSocket.open(world.url);
    world.closeAfter(() => ws.close());
    await ws.next();
    await world.api.push({ all: true }, 'early', []);
    ws.send('40');
    assert.match(await ws.next(), /^40\{"sid":"[^"]+"\}$/);
  });

  it('EIO3: the server connects "/" by itself, without a payload', async () => {
    const ws = await RawWebSocket.open(world.url, { eio: 3 });
    world.closeAfter(() => ws.close());
    await ws.next();
    assert.equal(await ws.next(), '40');
  });

  it('session IDs hold no guessable part alone: two in a row differ in most characters', async () => {
    const ids = [];
    for (let i = 0; i < 2; i += 1) {
      const session = await PollingSession.open(world.url);
      world.closeAfter(() => session.close());
      ids.push(session.sid);
    }
    assert.ok(ids[0].length >= 20, ids[0]);
    const same = [...ids[0]].filter((c, i) => c === ids[1][i]).length;
    assert.ok(ids[0].length - same >= 10, `${ids[0]} and ${ids[1]}`);
  });
});

describe('a connect backend', () => {
  const world = useWorld({ routes: everythingToBackend });

  for (const { name, version, transport } of combinations) {
    it(`${name}: sees who comes and goes`, async () => {
      const guid = world.room();
      const client = await world.connect({ version, transport, auth: { guid, token: 'secret' } });
      const { auth, query, client: who } = await world.backend.next(
        (e) => e.type === connectEvent && (version === 2 ? e.query.guid : JSON.parse(e.auth).guid) === guid,
      );
      if (version === 2) {
        assert.equal(query.guid, guid);
        assert.equal(query.token, 'secret');
        assert.deepEqual(JSON.parse(auth), {});
      } else {
        assert.deepEqual(JSON.parse(auth), { guid, token: 'secret' });
      }
      assert.equal(who.namespace, '/');
      assert.equal(who.transport, transport === 'websocket' ? 'websocket' : 'polling');
      // Only its join_rooms are joined: the guid alone is not one.
      assert.deepEqual((await world.api.getClient(client.id)).rooms ?? [], []);
      client.close();
      const gone = await world.backend.next((e) => e.type === disconnectEvent && e.client.id === who.id);
      assert.match(gone.reason, /^(client namespace disconnect|transport close)$/);
    });

    it(`${name}: names the user, its rooms, and pushes after the CONNECT answer`, async () => {
      const room = world.room();
      world.backend.handle = (event) =>
        event.type === connectEvent
          ? {
              uid: `u-${room}`,
              profile: '{"name":"Ada"}',
              joinRooms: [room],
              pushes: [{ targets: [{ client: event.client.id }], event: 'welcome', payload: { json: '["hi"]' } }],
            }
          : {};
      const client = world.make({ version, transport });
      const order = [];
      client.on('connect', () => order.push('connect'));
      client.on('welcome', (text) => order.push(text));
      const welcome = inboxOf(client, 'welcome');
      await connected(client);
      await welcome.next();
      assert.deepEqual(order, ['connect', 'hi']);
      const [{ uid, profile, rooms }] = (await world.api.listClients({ room })).clients;
      assert.deepEqual({ uid, rooms, profile: JSON.parse(profile) }, { uid: `u-${room}`, rooms: [room], profile: { name: 'Ada' } });
    });

    it(`${name}: refuses with a message and data`, async () => {
      world.backend.handle = () => ({ reject: 'no entry', rejectData: '{"why":"closed","until":9}' });
      const client = world.make({ version, transport });
      const reason = await refusal(client);
      if (version === 2) {
        // The packet's data, as the v2 server sent it: the data, or the message when there is none.
        assert.deepEqual(reason, { why: 'closed', until: 9 });
      } else {
        assert.equal(reason.message, 'no entry');
        assert.deepEqual(reason.data, { why: 'closed', until: 9 });
      }
      assert.equal(client.connected, false);
    });

    it(`${name}: refuses with a message alone`, async () => {
      world.backend.handle = () => ({ reject: 'no entry' });
      const client = world.make({ version, transport });
      const reason = await refusal(client);
      assert.equal(version === 2 ? reason : reason.message, 'no entry');
    });
  }

  it('the rejection on the wire: an object from protocol 5 on, the bare message for protocol 4', async () => {
    world.backend.handle = () => ({ reject: 'no "entry"' });
    const four = await RawWebSocket.open(world.url);
    const three = await RawWebSocket.open(world.url, { eio: 3 });
    world.closeAfter(() => (four.close(), three.close()));
    await four.next();
    four.send('40');
    assert.equal(await four.next(), '44{"message":"no \\"entry\\""}');
    await three.next();
    assert.equal(await three.next(), '44"no \\"entry\\""');
  });

  it('auth is {} when the CONNECT packet had none', async () => {
    const ws = await RawWebSocket.connect(world.url);
    world.closeAfter(() => ws.close());
    assert.equal((await world.backend.next((e) => e.type === connectEvent && isClient(e, ws))).auth, '{}');
  });

  it('auth reaches the backend as it was written', { ...holdfastOnly('it parses JSON and writes it anew') }, async () => {
    const ws = await RawWebSocket.open(world.url);
    world.closeAfter(() => ws.close());
    await ws.next();
    ws.send('40{"z":1.0, "a":"<&>"}');
    ws.id = JSON.parse((await ws.next()).slice(2)).sid;
    assert.equal((await world.backend.next((e) => e.type === connectEvent && isClient(e, ws))).auth, '{"z":1.0, "a":"<&>"}');
  });

  it('a backend that fails lets nobody in, and says so', async () => {
    world.backend.handle = () => {
      throw new Error('down');
    };
    const client = world.make({});
    const reason = await refusal(client);
    assert.notEqual(reason.message, '');
  });
});

describe('SIGTERM', { ...holdfastOnly('its close() sends DISCONNECT packets') }, () => {
  for (const { name, ...spec } of combinations) {
    it(`${name}: closes the transport, from which a client comes back, and ends well`, async (t) => {
      const gateway = await startGateway({ recovery: { enabled: false } });
      t.after(() => gateway.stop());
      const client = makeClient(gateway.url, spec);
      t.after(() => client.close());
      await connected(client);
      const gone = eventOf(client, 'disconnect', 30_000);
      const ended = await gateway.stop('SIGTERM');
      const [reason] = await gone;
      assert.match(reason, /^transport (close|error)$/);
      assert.deepEqual(ended, { code: 0, signal: null });
    });
  }
});
