// Several namespaces of one session, dynamic ones, unknown ones, leaving one.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { connectEvent, disconnectEvent } from './harness/backend.mjs';
import { ask, combinations, connected, everythingOf, inboxOf, refusal } from './harness/clients.mjs';
import { RawWebSocket } from './harness/raw_websocket.mjs';
import { holdfastOnly } from './harness/target.mjs';
import { eventOf } from './harness/wait.mjs';
import { everythingToBackend, useWorld } from './harness/world.mjs';

const endpoints = [{ path: '/socket.io/', protocol: 'socket.io', namespaces: ['/', '/custom', '/tenant-*'] }];

describe('namespaces', () => {
  const world = useWorld({ endpoints, routes: everythingToBackend });

  function script(room) {
    world.backend.handle = (event) =>
      event.type === connectEvent ? { joinRooms: [room] } : { ack: { json: JSON.stringify([event.client.namespace]) } };
  }

  for (const { name, version, transport } of combinations) {
    it(`${name}: three namespaces over one connection, each with its own events`, async () => {
      const room = world.room();
      script(room);
      const main = world.make({ version, transport });
      const mainGot = everythingOf(main);
      await connected(main);
      const others = ['/custom', '/tenant-42'].map((namespace) => main.io.socket(namespace, {}));
      const got = others.map((socket) => {
        socket.spec = main.spec;
        return everythingOf(socket);
      });
      for (const socket of others) {
        if (!socket.connected) await eventOf(socket, 'connect');
      }
      await world.api.push({ room, namespace: '/custom' }, 'hello', ['custom']);
      await world.api.push({ room, namespace: '/tenant-42' }, 'hello', ['tenant']);
      await world.api.push({ room, namespace: '/tenant-43' }, 'hello', ['another tenant']);
      await world.api.push({ room }, 'hello', ['main']);
      assert.deepEqual(await got[0].next(), ['hello', 'custom']);
      assert.deepEqual(await got[1].next(), ['hello', 'tenant']);
      assert.deepEqual(await mainGot.next(), ['hello', 'main']);
      assert.deepEqual(await ask(others[0], 'where'), ['/custom']);
      assert.deepEqual(await ask(others[1], 'where'), ['/tenant-42']);
      assert.deepEqual(await ask(main, 'where'), ['/']);
      assert.deepEqual([...got, mainGot].flatMap((inbox) => inbox.waiting), []);
      const ids = new Set([main, ...others].map((socket) => socket.id));
      assert.equal(ids.size, 3);
      if (version === 2) assert.equal(others[0].id, `/custom#${main.id}`);
    });

    it(`${name}: binary and acknowledgements in a namespace`, async () => {
      const room = world.room();
      script(room);
      const client = await world.connect({ version, transport, namespace: '/custom' });
      const got = inboxOf(client, 'file');
      await world.api.push({ room, namespace: '/custom' }, 'file', [Buffer.from('abc')]);
      assert.equal(Buffer.from((await got.next())[0]).toString(), 'abc');
      client.on('ask', (answer) => answer('from custom'));
      const { acks } = await world.api.pushAndWait({ client: client.id, namespace: '/custom' }, 'ask');
      assert.deepEqual(acks.map((ack) => ack.payload.json), ['["from custom"]']);
    });

    it(`${name}: an unknown namespace is refused as "Invalid namespace"`, async () => {
      script(world.room());
      for (const namespace of ['/unknown', '/tenant', '/custom/deeper']) {
        const client = world.make({ version, transport, namespace });
        const reason = await refusal(client);
        assert.equal(reason.message, 'Invalid namespace');
      }
    });

    it(`${name}: leaving one namespace leaves the others`, async () => {
      const room = world.room();
      script(room);
      const main = await world.connect({ version, transport });
      const custom = main.io.socket('/custom', {});
      custom.spec = main.spec;
      if (!custom.connected) await eventOf(custom, 'connect');
      custom.disconnect();
      assert.deepEqual(await ask(main, 'where'), ['/']);
      assert.equal((await world.api.listClients({ room, namespace: '/custom' })).clients.length, 0);
      assert.equal((await world.api.listClients({ room })).clients.length, 1);
    });
  }

  it('v2: the query of a namespace is its auth', { ...holdfastOnly('it merges both queries') }, async () => {
    script(world.room());
    const raw = await RawWebSocket.connect(world.url, { eio: 3, query: { token: 'of the handshake' } });
    world.closeAfter(() => raw.close());
    raw.send('40/custom?token=of%20the%20namespace&guid=d');
    assert.match(await raw.next(), /^40\/custom,?$/);
    const event = await world.backend.next((e) => e.type === connectEvent && e.client.namespace === '/custom');
    assert.deepEqual(JSON.parse(event.auth), { token: 'of the namespace', guid: 'd' });
    assert.equal(event.query.token, 'of the handshake');
  });

  describe('on the wire', () => {
    const left = (namespace) => world.backend.next((e) => e.type === disconnectEvent && e.client.namespace === namespace);

    it('EIO4: CONNECT, refusal, DISCONNECT, and CONNECT again', async () => {
      script(world.room());
      const raw = await RawWebSocket.open(world.url);
      world.closeAfter(() => raw.close());
      await raw.next();
      raw.send('40/custom,{"a":1}');
      assert.match(await raw.next(), /^40\/custom,\{"sid":"[^"]+"\}$/);
      raw.send('40/random,');
      assert.equal(await raw.next(), '44/random,{"message":"Invalid namespace"}');
      raw.send('41/custom,');
      await left('/custom');
      raw.send('40/custom'); // the comma may be missing when nothing follows
      assert.match(await raw.next(), /^40\/custom,\{"sid":"[^"]+"\}$/);
      raw.send('42/custom,5["where"]');
      assert.equal(await raw.next(), '43/custom,5["/custom"]');
    });

    it('EIO4: a query is a part of the name, so the refusal is for the client that asked', async () => {
      script(world.room());
      const manager = world.make({}).io;
      const client = manager.socket('/custom?room=7', {});
      client.spec = { version: 4 };
      world.closeAfter(() => client.close());
      assert.equal((await refusal(client)).message, 'Invalid namespace');
    });

    it('EIO3: CONNECT without a payload, refusal as an object', async () => {
      script(world.room());
      const raw = await RawWebSocket.connect(world.url, { eio: 3 });
      world.closeAfter(() => raw.close());
      raw.send('40/custom');
      assert.match(await raw.next(), /^40\/custom,?$/);
      raw.send('40/random');
      assert.equal(await raw.next(), '44/random,{"message":"Invalid namespace"}');
    });

    it('EIO4: with no namespace left the connection stays', async () => {
      script(world.room());
      const raw = await RawWebSocket.connect(world.url);
      world.closeAfter(() => raw.close());
      raw.send('41');
      await left('/');
      raw.send('40');
      assert.match(await raw.next(), /^40\{"sid"/);
    });

    for (const [what, packet] of Object.entries({
      'a second CONNECT': '40',
      'an event to a namespace not joined': '42/custom,["x"]',
      'an ACK to a namespace not joined': '43/custom,1[]',
    })) {
      it(`${what} closes the transport`, async () => {
        script(world.room());
        const raw = await RawWebSocket.connect(world.url);
        world.closeAfter(() => raw.close());
        raw.send(packet);
        await raw.closedWithin();
      });
    }
  });
});

describe('the default endpoint', () => {
  const world = useWorld();

  it('knows "/" alone', async () => {
    await world.connect({});
    assert.equal((await refusal(world.make({ namespace: '/custom' }))).message, 'Invalid namespace');
  });
});
