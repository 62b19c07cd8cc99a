// ClientService: who is there, moving them between rooms, sending them away.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { connectEvent, disconnectEvent } from './harness/backend.mjs';
import { combinations, connected, everythingOf, inboxOf } from './harness/clients.mjs';
import { RawWebSocket } from './harness/raw_websocket.mjs';
import { holdfastOnly } from './harness/target.mjs';
import { eventOf, eventually } from './harness/wait.mjs';
import { everythingToBackend, useWorld } from './harness/world.mjs';

describe('clients', () => {
  const world = useWorld({ routes: everythingToBackend });

  function script(answer) {
    world.backend.handle = (event) => (event.type === connectEvent ? answer : {});
  }

  for (const { name, version, transport } of combinations) {
    it(`${name}: GetClient, ListClients and CountClients`, async () => {
      const room = world.room();
      script({ joinRooms: [room], uid: `u-${room}`, profile: '{"name":"Ada","n":1}' });
      const clients = [await world.connect({ version, transport }), await world.connect({ version, transport })];
      const known = await world.api.getClient(clients[0].id);
      assert.equal(known.uid, `u-${room}`);
      assert.equal(known.namespace, '/');
      assert.deepEqual(known.rooms, [room]);
      assert.deepEqual(JSON.parse(known.profile), { name: 'Ada', n: 1 });
      assert.equal(known.protocol, version === 2 ? 'socket.io/4' : 'socket.io/5');
      assert.ok(clients[0].id.startsWith(known.id));
      for (const target of [{ room }, { user: `u-${room}` }]) {
        const { clients: listed } = await world.api.listClients(target);
        assert.equal(listed.length, 2);
        assert.ok(listed.every((l) => clients.some((c) => c.id.startsWith(l.id))));
        assert.equal((await world.api.countClients(target)).clients, 2);
      }
      assert.deepEqual(await world.api.countClients({ room }), { clients: 2, users: 1 });
      clients[0].close();
      await eventually(async () => (await world.api.countClients({ room })).clients === 1, 'the count did not fall');
      assert.equal((await world.api.listClients({ room })).clients.length, 1);
    });

    it(`${name}: Join and Leave`, async () => {
      const [one, two] = [world.room(), world.room()];
      script({ joinRooms: [one] });
      const client = await world.connect({ version, transport });
      const all = everythingOf(client);
      assert.equal(await world.api.join({ room: one }, [two]), 1);
      assert.deepEqual((await world.api.getClient(client.id)).rooms.sort(), [one, two].sort());
      await world.api.push({ room: two }, 'n', ['joined']);
      assert.deepEqual(await all.next(), ['n', 'joined']);
      assert.equal(await world.api.leave({ client: client.id }, [two]), 1);
      await world.api.push({ room: two }, 'n', ['left']);
      await world.api.push({ room: one }, 'n', ['marker']);
      assert.deepEqual(await all.next(), ['n', 'marker']);
      assert.equal((await world.api.countClients({ room: two })).clients, 0);
    });

    it(`${name}: Disconnect for good`, async () => {
      const room = world.room();
      script({ joinRooms: [room] });
      const options = { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 20 };
      const client = await world.connect({ version, transport, options });
      const { id } = client; // it has none afterwards
      const gone = eventOf(client, 'disconnect');
      assert.equal(await world.api.disconnect({ room }), 1);
      assert.equal((await gone)[0], 'io server disconnect');
      const { reason } = await world.backend.next((e) => e.type === disconnectEvent && id.startsWith(e.client.id));
      assert.equal(reason, 'server namespace disconnect');
      assert.equal((await world.api.countClients({ room })).clients, 0);
      assert.equal(client.connected, false);
    });

    it(`${name}: Disconnect with allow_reconnect, and it comes back`, async () => {
      const room = world.room();
      script({ joinRooms: [room] });
      const options = { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 20 };
      const client = await world.connect({ version, transport, options });
      const [gone, back] = [eventOf(client, 'disconnect'), eventOf(client, 'connect')];
      assert.equal(await world.api.disconnect({ room }, { allowReconnect: true }), 1);
      assert.equal((await gone)[0], 'transport close');
      await back;
      const got = inboxOf(client, 'hello');
      await world.api.push({ room }, 'hello', [1]);
      assert.deepEqual(await got.next(), [1]);
    });
  }

  it('on the wire: DISCONNECT for good is 41, and the connection stays', async () => {
    const room = world.room();
    script({ joinRooms: [room] });
    const raw = await RawWebSocket.connect(world.url);
    world.closeAfter(() => raw.close());
    await world.api.disconnect({ room });
    assert.equal(await raw.next(), '41');
    raw.send('40');
    assert.match(await raw.next(), /^40\{/);
  });

  it('ListClients in pages', async () => {
    const room = world.room();
    script({ joinRooms: [room] });
    const ids = [];
    for (let i = 0; i < 7; i += 1) ids.push((await world.connect({})).id);
    const found = [];
    let pageToken = '';
    do {
      const page = await world.api.listClients({ room }, { pageSize: 3, pageToken });
      assert.ok(page.clients.length <= 3);
      found.push(...page.clients.map((c) => c.id));
      pageToken = page.nextPageToken;
    } while (pageToken);
    assert.deepEqual(found.sort(), ids.sort());
  });

  it('a room of a namespace is not that of another', { ...holdfastOnly('it needs the namespace configured') }, async () => {
    const room = world.room();
    script({ joinRooms: [room] });
    await world.connect({});
    assert.equal((await world.api.countClients({ room, namespace: '/custom' })).clients, 0);
  });

  it('an ID that nobody has: 404 not_found', async () => {
    const { status, body } = await world.api.raw('ClientService', 'GetClient', { id: 'AAAAAAAAAAA' });
    assert.deepEqual([status, body.code], [404, 'not_found']);
  });

  it('nobody to act on: zero, not an error', async () => {
    const nobody = { room: 'nobody here' };
    assert.equal(await world.api.join(nobody, ['x']), 0);
    assert.equal(await world.api.leave(nobody, ['x']), 0);
    assert.equal(await world.api.disconnect(nobody), 0);
    assert.deepEqual(await world.api.countClients(nobody), { clients: 0, users: 0 });
  });

  it('a room cannot be used to get into a user\'s or a client\'s messages', { ...holdfastOnly('its rooms share one space with IDs') }, async () => {
    script({ joinRooms: [world.room()], uid: 'victim' });
    const victim = await world.connect({});
    script({ joinRooms: [victim.id, 'victim', 'u:/,victim', `c:/,${victim.id}`, 'a:/,'] });
    const thief = everythingOf(await connected(world.make({})));
    await world.api.push({ user: 'victim' }, 'private', []);
    await world.api.push({ client: victim.id }, 'private', []);
    await world.api.push({ all: true }, 'marker');
    assert.deepEqual(await thief.next(), ['marker']);
  });

  it('shows no secret: a v2 client\'s ID appears without the part that lets one post', { ...holdfastOnly('it shows them') }, async () => {
    const room = world.room();
    script({ joinRooms: [room] });
    const client = await world.connect({ version: 2 });
    const [{ id }] = (await world.api.listClients({ room })).clients;
    assert.notEqual(id, client.id);
    const got = inboxOf(client, 'hello');
    await world.api.push({ client: id }, 'hello', ['short form']);
    await world.api.push({ client: client.id }, 'hello', ['long form']);
    assert.deepEqual(await got.take(2), [['short form'], ['long form']]);
  });
});

describe('a client in as many rooms as it may be', { ...holdfastOnly('it has no such bound') }, () => {
  const world = useWorld({ limits: { rooms: 3 }, auth: { anonymous: true } });

  it('joins no further one, and the caller is told', async () => {
    const room = world.room();
    const [full, other] = [await world.connect({ auth: { guid: room } }), await world.connect({ auth: { guid: room } })];
    assert.equal(await world.api.join({ client: full.id }, ['a', 'b']), 1);
    const { status, body } = await world.api.raw('ClientService', 'Join', { target: { room }, rooms: ['c', 'd'] });
    assert.deepEqual([status, body.code], [400, 'failed_precondition']);
    assert.match(body.message, new RegExp(`^1 clients reached; .*client ${full.id} would be in more rooms than limits.rooms permits`));
    const roomsOf = async (client) => (await world.api.getClient(client.id)).rooms.sort();
    assert.deepEqual(await roomsOf(full), ['a', 'b', room].sort());
    assert.deepEqual(await roomsOf(other), ['c', 'd', room].sort());
    assert.equal(await world.api.join({ client: full.id }, ['a', 'b', room]), 1); // it is there
  });
});
