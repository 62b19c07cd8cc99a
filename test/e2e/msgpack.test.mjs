// Clients with socket.io-msgpack-parser beside ordinary ones, without a setting.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { argsOf, attachmentsOf, connectEvent } from './harness/backend.mjs';
import { ask, everythingOf, inboxOf, refusal, transports } from './harness/clients.mjs';
import { holdfastOnly } from './harness/target.mjs';
import { eventOf } from './harness/wait.mjs';
import { everythingToBackend, useWorld } from './harness/world.mjs';

const kinds = [3, 4].flatMap((version) => transports.map((transport) => ({ version, transport, name: `v${version} ${transport}` })));

describe('MessagePack', { ...holdfastOnly('it has one parser for all clients') }, () => {
  const world = useWorld({ routes: everythingToBackend });

  function script(room) {
    world.backend.handle = (event) => (event.type === connectEvent ? { joinRooms: [room] } : { ack: event.payload });
  }

  for (const { name, ...spec } of kinds) {
    it(`${name}: beside a JSON client in one room, both get the same`, async () => {
      const room = world.room();
      script(room);
      const packed = await world.connect({ ...spec, msgpack: true });
      const plain = await world.connect(spec);
      const inboxes = [everythingOf(packed), everythingOf(plain)];
      const args = [1, -1, 1.5, 'größe 😀', null, true, { nested: [{ list: [] }] }, 2 ** 40];
      await world.api.push({ room }, 'value', args);
      for (const inbox of inboxes) assert.deepEqual(await inbox.next(), ['value', ...args]);
      await world.api.push({ room }, 'file', ['a', Buffer.from([0, 255, 7])]);
      for (const inbox of inboxes) {
        const [event, a, bytes] = await inbox.next();
        assert.deepEqual([event, a, Buffer.from(bytes)], ['file', 'a', Buffer.from([0, 255, 7])]);
      }
    });

    it(`${name}: a push given as MessagePack reaches both`, async () => {
      const room = world.room();
      script(room);
      const inboxes = [inboxOf(await world.connect({ ...spec, msgpack: true }), 'v'), inboxOf(await world.connect(spec), 'v')];
      // [1, "two", bin 03 04]
      const msgpack = Buffer.from([0x93, 0x01, 0xa3, ...Buffer.from('two'), 0xc4, 0x02, 3, 4]).toString('base64');
      await world.api.push({ room }, 'v', [], { payload: { msgpack } });
      for (const inbox of inboxes) {
        const [one, two, bytes] = await inbox.next();
        assert.deepEqual([one, two, Buffer.from(bytes)], [1, 'two', Buffer.from([3, 4])]);
      }
    });

    it(`${name}: events, acknowledgements and Buffers`, async () => {
      script(world.room());
      const client = await world.connect({ ...spec, msgpack: true });
      const [text, file, object] = await ask(client, 'echo', 'größe 😀', Buffer.from([1, 2]), { n: 1.5, none: null });
      assert.deepEqual([text, Buffer.from(file), object], ['größe 😀', Buffer.from([1, 2]), { n: 1.5, none: null }]);
      const { payload } = await world.backend.nextMessage('echo');
      assert.deepEqual(argsOf(payload), ['größe 😀', { _placeholder: true, num: 0 }, { n: 1.5, none: null }]);
      assert.deepEqual(attachmentsOf(payload), [Buffer.from([1, 2])]);
    });

    it(`${name}: PushAndWait`, async () => {
      script(world.room());
      const client = await world.connect({ ...spec, msgpack: true });
      client.on('ask', (question, answer) => answer(`${question}!`));
      const { acks } = await world.api.pushAndWait({ client: client.id }, 'ask', ['hey']);
      assert.deepEqual(argsOf(acks[0].payload), ['hey!']);
    });
  }

  it('a push of MessagePack that some client could not read is refused, and costs nobody anything', async () => {
    const room = world.room();
    script(room);
    const inboxes = [everythingOf(await world.connect({ msgpack: true })), everythingOf(await world.connect())];
    const bad = {
      'cut off': [[0x93, 1], /announces more than there is/],
      'with more behind it': [[0x91, 1, 2], /something follows/],
      'of no type': [[0x91, 0xc1], /is of no type/],
      'text that is no UTF-8': [[0x91, 0xa1, 0xff], /not valid UTF-8/],
      'an extension that nobody knows': [[0x91, 0xd4, 5, 1], /ext type 5/],
      'a map': [[0x81, 1, 1], /is not a MessagePack array/],
      'too deep': [Array(1000).fill(0x91).concat(1), /nested more than/],
      '11 binary values': [[0x9b, ...Array(11).fill([0xc4, 1, 1]).flat()], /binary values: are 11, more than 10/],
    };
    for (const [what, [bytes, message]] of Object.entries(bad)) {
      const payload = { msgpack: Buffer.from(bytes).toString('base64') };
      const { status, body } = await world.api.raw('PushService', 'Push', { targets: [{ room }], event: 'bad', payload });
      assert.equal(status, 400, what);
      assert.match(body.message, /^payload\.msgpack: /, what);
      assert.match(body.message, message, what);
    }
    await world.api.push({ room }, 'still', ['here']);
    for (const inbox of inboxes) assert.deepEqual(await inbox.next(), ['still', 'here']);
  });

  it('auth and refusals', async () => {
    world.backend.handle = (event) => ({ reject: 'no entry', rejectData: event.auth });
    const client = world.make({ msgpack: true, auth: { guid: 'doc-1' } });
    const reason = await refusal(client);
    assert.equal(reason.message, 'no entry');
    assert.deepEqual(reason.data, { guid: 'doc-1' });
  });
});

describe('MessagePack for version 2 clients, where the endpoint says so', { ...holdfastOnly('it has one parser for all clients') }, () => {
  const world = useWorld({
    routes: everythingToBackend,
    endpoints: [{ path: '/socket.io/', namespaces: ['/', '/vip'], parser: 'msgpack' }],
  });

  for (const transport of transports) {
    it(`${transport}: beside a version 4 client, events, pushes and acknowledgements both ways`, async () => {
      const room = world.room();
      world.backend.handle = (event) => (event.type === connectEvent ? { joinRooms: [room] } : { ack: event.payload });
      const old = await world.connect({ version: 2, transport, msgpack: true });
      const young = await world.connect({ version: 4, transport });
      const inboxes = [everythingOf(old), everythingOf(young)];
      await world.api.push({ room }, 'file', ['größe 😀', Buffer.from([0, 255, 7]), { n: 1.5 }]);
      for (const inbox of inboxes) {
        const [event, text, bytes, object] = await inbox.next();
        assert.deepEqual([event, text, Buffer.from(bytes), object], ['file', 'größe 😀', Buffer.from([0, 255, 7]), { n: 1.5 }]);
      }
      const [text, file] = await ask(old, 'echo', 'hi', Buffer.from([1, 2]));
      assert.deepEqual([text, Buffer.from(file)], ['hi', Buffer.from([1, 2])]);
      old.on('ask', (question, answer) => answer(`${question}!`));
      const { acks } = await world.api.pushAndWait({ client: old.id }, 'ask', ['hey']);
      assert.deepEqual(argsOf(acks[0].payload), ['hey!']);
    });
  }

  it('a namespace with its query, a refusal, and a disconnect by the server', async () => {
    world.backend.handle = ({ type, auth, client }) => {
      if (type !== connectEvent || client.namespace === '/') return {};
      return JSON.parse(auth).key === 'good' ? { uid: 'ann' } : { reject: 'no entry', rejectData: '{"code":7}' };
    };
    const refused = world.make({ version: 2, namespace: '/vip', auth: { key: 'bad' }, msgpack: true });
    assert.equal(await refusal(refused), 'no entry');
    const client = await world.connect({ version: 2, namespace: '/vip', auth: { key: 'good' }, msgpack: true });
    const gone = eventOf(client, 'disconnect');
    await world.api.disconnect({ user: 'ann', namespace: '/vip' });
    assert.equal((await gone)[0], 'io server disconnect');
  });
});
