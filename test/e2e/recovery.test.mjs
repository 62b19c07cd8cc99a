// Coming back after a broken connection, with and without recovery.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { connectEvent } from './harness/backend.mjs';
import { combinations, connected, everythingOf, inboxOf, transports } from './harness/clients.mjs';
import { PollingSession } from './harness/raw_http.mjs';
import { RawWebSocket } from './harness/raw_websocket.mjs';
import { holdfastOnly } from './harness/target.mjs';
import { eventOf, eventually } from './harness/wait.mjs';
import { everythingToBackend, useWorld } from './harness/world.mjs';

/** Ways in which a connection ends without the application wanting it. */
const breaks = {
  'engine closed': (client) => client.io.engine.close(),
  'connection cut': (client) => (client.io.engine.transport.ws ? client.io.engine.transport.ws.terminate() : client.io.engine.close()),
};

async function breakConnection(client, how) {
  const gone = eventOf(client, 'disconnect');
  breaks[how](client);
  await gone;
}

async function comeBack(client) {
  client.connect();
  await connected(client);
}

describe('reconnecting without recovery', () => {
  const world = useWorld();

  for (const { name, version, transport } of combinations) {
    it(`${name}: a client comes back by itself into its room, as a new one`, async () => {
      const room = world.room();
      const options = { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 40 };
      const client = await world.connect({ version, transport, auth: { guid: room }, options });
      const before = client.id;
      const got = inboxOf(client, 'hello');
      const again = eventOf(client, 'connect');
      await breakConnection(client, 'connection cut');
      await world.api.push({ room }, 'hello', ['missed']);
      await again;
      assert.notEqual(client.id, before);
      await world.api.push({ room }, 'hello', ['after']);
      // Whether the first one was missed depends on how quick the client was.
      await got.find(([text]) => text === 'after');
      assert.ok(!client.recovered);
    });
  }
});

describe('recovery', () => {
  const world = useWorld({ recovery: { enabled: true, window: '1m' }, routes: everythingToBackend });

  function script(...rooms) {
    world.backend.handle = (event) => (event.type === connectEvent ? { joinRooms: rooms } : { ack: event.payload });
  }

  for (const transport of transports) {
    for (const how of Object.keys(breaks)) {
      it(`v4 ${transport}, ${how}: missed events come once and in order`, async () => {
        const room = world.room();
        script(room);
        const client = await world.connect({ transport });
        assert.equal(client.recovered, false);
        const { id } = client;
        const got = inboxOf(client, 'n');
        for (let i = 0; i < 3; i += 1) await world.api.push({ room }, 'n', [i]);
        const before = await got.take(3);
        assert.equal(typeof before[0].at(-1), 'string', 'no offset at the end of an event');
        await breakConnection(client, how);
        for (let i = 3; i < 40; i += 1) await world.api.push({ room }, 'n', [i]);
        await comeBack(client);
        await world.api.push({ room }, 'n', [40]);
        assert.equal(client.recovered, true);
        assert.equal(client.id, id);
        const after = await got.take(38);
        assert.deepEqual(after.map(([n]) => n), [...Array(38).keys()].map((i) => i + 3));
        assert.deepEqual(got.waiting, []);
      });
    }

    it(`v4 ${transport}: twice in a row, with attachments among what was missed`, async () => {
      const room = world.room();
      script(room);
      const client = await world.connect({ transport });
      const got = inboxOf(client, 'file');
      await world.api.push({ room }, 'file', [Buffer.from('zero')]);
      await got.next();
      for (const round of ['one', 'two']) {
        await breakConnection(client, 'connection cut');
        await world.api.push({ room }, 'file', [Buffer.from(`missed ${round}`)]);
        await comeBack(client);
        assert.equal(client.recovered, true);
        assert.equal(Buffer.from((await got.next())[0]).toString(), `missed ${round}`);
      }
      assert.deepEqual(got.waiting, []);
    });

    it(`v4 ${transport}: recovered from the first moment, before any event`, { ...holdfastOnly('without an offset it does not recover') }, async () => {
      const room = world.room();
      script(room);
      const client = await world.connect({ transport });
      const got = inboxOf(client, 'n');
      await breakConnection(client, 'connection cut');
      await world.api.push({ room }, 'n', ['missed']);
      await comeBack(client);
      assert.equal(client.recovered, true);
      assert.equal((await got.next())[0], 'missed');
    });
  }

  it('missed events come before the CONNECT answer, which has the same sid and pid', async () => {
    const room = world.room();
    script(room);
    const first = await RawWebSocket.open(world.url);
    world.closeAfter(() => first.close());
    await first.next();
    first.send('40');
    const answer = JSON.parse((await first.next()).slice(2));
    assert.deepEqual(Object.keys(answer).sort(), ['pid', 'sid']);
    await world.api.push({ room }, 'n', [1]);
    const [, , offset] = JSON.parse((await first.next()).slice(2));
    assert.ok(Buffer.byteLength(offset) <= 256);
    first.close();
    await world.api.push({ room }, 'n', [2]);
    const second = await RawWebSocket.open(world.url);
    world.closeAfter(() => second.close());
    await second.next();
    second.send(`40${JSON.stringify({ pid: answer.pid, offset })}`);
    assert.match(await second.next(), /^42\["n",2,"[^"]+"\]$/);
    assert.deepEqual(JSON.parse((await second.next()).slice(2)), answer);
  });

  it('an event with an acknowledgement carries no offset', async () => {
    const room = world.room();
    script(room);
    const client = await world.connect({});
    const seen = [];
    client.on('ask', (...args) => {
      seen.push(args.slice(0, -1));
      args.at(-1)('ok');
    });
    const { acks } = await world.api.pushAndWait({ room }, 'ask', ['q']);
    assert.deepEqual(acks.map((ack) => ack.payload.json), ['["ok"]']);
    assert.deepEqual(seen, [['q']]);
  });

  it('a volatile event carries an offset and is not replayed', { ...holdfastOnly('it gives volatile events none') }, async () => {
    const room = world.room();
    script(room);
    const client = await world.connect({});
    const all = everythingOf(client);
    await world.api.push({ room }, 'blink', [1], { volatile: true });
    const [, , offset] = await all.next();
    assert.equal(typeof offset, 'string');
    await breakConnection(client, 'connection cut');
    await world.api.push({ room }, 'blink', [2], { volatile: true });
    await world.api.push({ room }, 'kept', [3]);
    await comeBack(client);
    assert.equal(client.recovered, true);
    assert.deepEqual((await all.next()).slice(0, 2), ['kept', 3]);
    assert.deepEqual(all.waiting, []);
  });

  it('to several targets: missed messages come once', { ...holdfastOnly('it makes no difference between targets') }, async () => {
    const [one, two] = [world.room(), world.room()];
    script(one, two);
    const client = await world.connect({});
    const got = inboxOf(client, 'n');
    await world.api.push([{ room: one }, { room: two }], 'n', [0]);
    await got.next();
    await breakConnection(client, 'connection cut');
    await world.api.push([{ room: one }, { room: two }], 'n', [1]);
    await world.api.push({ room: two }, 'n', [2]);
    await comeBack(client);
    await world.api.push({ client: client.id }, 'n', ['end']);
    const numbers = [];
    for (let n; n !== 'end'; numbers.push(n)) [n] = await got.next();
    assert.deepEqual(numbers.slice(0, -1).sort(), [1, 2]);
  });

  it('what was sent to the user is recovered as well', async () => {
    world.backend.handle = (event) => (event.type === connectEvent ? { uid: 'ada' } : {});
    const client = await world.connect({});
    const got = inboxOf(client, 'n');
    await world.api.push({ user: 'ada' }, 'n', ['first']);
    await got.next();
    await breakConnection(client, 'connection cut');
    await world.api.push({ user: 'ada' }, 'n', ['missed']);
    await comeBack(client);
    assert.equal(client.recovered, true);
    assert.equal((await got.next())[0], 'missed');
    assert.deepEqual(got.waiting, []);
  });

  it('what was sent to the client alone is recovered as well', { ...holdfastOnly('it forgets what goes to one client') }, async () => {
    script(world.room());
    const client = await world.connect({});
    const { id } = client; // it has none while it is away
    const got = inboxOf(client, 'n');
    await world.api.push({ client: id }, 'n', ['first']);
    await got.next();
    await breakConnection(client, 'connection cut');
    await world.api.push({ client: id }, 'n', ['missed']);
    await comeBack(client);
    assert.equal(client.recovered, true);
    assert.equal((await got.next())[0], 'missed');
    assert.deepEqual(got.waiting, []);
  });

  it('a disconnect that was wanted is not recovered', async () => {
    const room = world.room();
    script(room);
    const client = await world.connect({});
    const got = inboxOf(client, 'n');
    await world.api.push({ room }, 'n', [0]);
    await got.next();
    client.disconnect();
    await eventually(async () => (await world.api.listClients({ room })).clients.length === 0, 'the client is still listed');
    await comeBack(client);
    assert.equal(client.recovered, false);
  });

  for (const [what, spoil] of Object.entries({
    'an unknown pid': () => ({ pid: 'nobody', offset: 'x' }),
    'a pid and offset that are no strings': () => ({ pid: 7, offset: { a: 1 } }),
    'an offset that does not parse': (auth) => ({ ...auth, offset: '%%%' }),
    'an offset of another session': (auth, other) => ({ pid: 'nobody', offset: other }),
  })) {
    it(`${what}: a fresh connection or a recovered one, never an error`, async () => {
      const room = world.room();
      script(room);
      const first = await PollingSession.open(world.url);
      world.closeAfter(() => first.close());
      await first.post('40');
      const { pid } = JSON.parse((await first.next()).slice(2));
      await world.api.push({ room }, 'n', [1]);
      const [, , offset] = JSON.parse((await first.next()).slice(2));
      const raw = await RawWebSocket.open(world.url);
      world.closeAfter(() => raw.close());
      await raw.next();
      raw.send(`40${JSON.stringify(spoil({ pid, offset }, offset))}`);
      let packet;
      do packet = await raw.next();
      while (packet.startsWith('42'));
      assert.match(packet, /^40\{"sid":"[^"]+","pid":"[^"]+"\}$/);
    });
  }
});
