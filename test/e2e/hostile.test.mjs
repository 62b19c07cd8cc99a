// Bad input at every layer: it ends the one who sent it and nobody else.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { ask, combinations, connected, inboxOf, makeClient } from './harness/clients.mjs';
import { connectEvent } from './harness/backend.mjs';
import { PollingSession, exchange } from './harness/raw_http.mjs';
import { BareWebSocket, RawWebSocket } from './harness/raw_websocket.mjs';
import { holdfastOnly } from './harness/target.mjs';
import { eventually } from './harness/wait.mjs';
import { everythingToBackend, useWorld } from './harness/world.mjs';

describe('bad input', () => {
  const world = useWorld({ routes: everythingToBackend, limits: { max_payload: '100KB' } });
  let bystanders;

  before(async () => {
    world.backend.handle = (event) => (event.type === connectEvent ? { joinRooms: ['bystanders'] } : {});
    bystanders = combinations.map((spec) => {
      const client = makeClient(world.url, spec);
      return { client, got: inboxOf(client, 'alive'), lost: false };
    });
    for (const bystander of bystanders) {
      await connected(bystander.client);
      bystander.client.on('disconnect', () => (bystander.lost = true));
    }
  });

  afterEach(async () => {
    await world.api.push({ room: 'bystanders' }, 'alive', [1]);
    for (const { client, got, lost } of bystanders) {
      assert.deepEqual(await got.next(), [1], `v${client.spec.version} ${client.spec.transport} got nothing`);
      assert.equal(lost, false);
    }
  });

  after(() => bystanders.forEach(({ client }) => client.close()));

  const badPackets = {
    'an unknown Engine.IO type': ['9'],
    'a ping in the wrong direction': ['2'],
    'an empty message': ['4'],
    'an unknown Socket.IO type': ['49'],
    'no JSON': ['4abc'],
    'an event that is an object': ['42{}'],
    'an event without data': ['42'],
    'an event with digits, then no JSON': ['421abc["x"]'],
    'an event that is an empty array': ['42[]'],
    'an event whose name is an object': ['42[{}]'],
    'a reserved event name': ['42["disconnect"]'],
    'an escaped reserved event name': ['42["disco\\u006enect"]'],
    'JSON that is cut off': ['42["x",{"a":'],
    'something behind the JSON': ['42["x"]y'],
    'an ack that is no array': ['431{}'],
    'bytes without a header': [Buffer.from([1, 2, 3])],
    'text while attachments are missing': ['451-["x",{"_placeholder":true,"num":0}]', '42["y"]'],
    'a placeholder out of range': ['451-["x",{"_placeholder":true,"num":5}]', Buffer.from([1])],
    'more attachments than permitted': ['4565535-["x"]'],
    'attachments without a dash': ['451["x"]', Buffer.from([1])],
  };
  // What the reference lets pass, or waits for without end.
  const lax = new Set(['an event without data', 'more attachments than permitted', 'attachments without a dash', 'an escaped reserved event name']);

  for (const [what, packets] of Object.entries(badPackets)) {
    it(`over WebSocket: ${what} closes the connection`, lax.has(what) ? holdfastOnly('it is lax here') : {}, async () => {
      const ws = await RawWebSocket.connect(world.url);
      world.closeAfter(() => ws.close());
      packets.forEach((packet) => ws.send(packet));
      await ws.closedWithin();
    });
  }

  it('EIO3: a pong from the client closes the connection', async () => {
    const ws = await RawWebSocket.connect(world.url, { eio: 3 });
    ws.send('3');
    await ws.closedWithin();
  });

  it('EIO3: bytes without their leading 4 close the connection', { ...holdfastOnly('it takes any first byte for a type') }, async () => {
    const ws = await RawWebSocket.connect(world.url, { eio: 3 });
    ws.send('451-["x",{"_placeholder":true,"num":0}]');
    ws.send(Buffer.from([9, 9]));
    await ws.closedWithin();
  });

  it('by polling: a bad packet ends the session', async () => {
    const session = await PollingSession.connect(world.url);
    await session.post('42{}');
    assert.equal((await session.afterEnd()).status, 400);
  });

  it('a hundred thousand empty packets in one body', async () => {
    const session = await PollingSession.connect(world.url);
    await session.postBody('\x1e'.repeat(90_000));
    assert.equal((await session.afterEnd()).status, 400);
  });

  describe('frames that break RFC 6455', () => {
    const cases = {
      'a frame without a mask: 1002': [1002, (ws) => ws.frame(0x81, Buffer.from('40'), { masked: false })],
      'a reserved bit: 1002': [1002, (ws) => ws.frame(0xc1, Buffer.from('40'))],
      'a reserved opcode: 1002': [1002, (ws) => ws.frame(0x83, Buffer.from('40'))],
      'a control frame in pieces: 1002': [1002, (ws) => ws.frame(0x09, Buffer.from('x'))],
      'a ping of 126 bytes: 1002': [1002, (ws) => ws.frame(0x89, Buffer.alloc(126))],
      'a continuation of nothing: 1002': [1002, (ws) => ws.frame(0x80, Buffer.from('x'))],
      'text that is not UTF-8: 1007': [1007, (ws) => ws.frame(0x81, Buffer.from([0x34, 0x32, 0xff, 0xfe]))],
      'a message over the limit: 1009': [1009, (ws) => ws.frame(0x81, Buffer.alloc(100_001, '4'))],
      'an announced length over the limit: 1009': [1009, (ws) => ws.frame(0x82, Buffer.alloc(10), { announced: 2_000_000_000 })],
      'pieces that together are over the limit: 1009': [
        1009,
        (ws) => {
          ws.frame(0x01, Buffer.alloc(60_000, '4'));
          ws.frame(0x80, Buffer.alloc(60_000, '4'));
        },
      ],
    };
    for (const [what, [code, send]] of Object.entries(cases)) {
      it(what, async () => {
        const ws = await BareWebSocket.open(world.url);
        world.closeAfter(() => ws.close());
        send(ws);
        assert.equal(await ws.closeCode(), code);
      });
    }

    it('a message in many pieces, with a ping between them, is fine', async () => {
      const ws = await BareWebSocket.open(world.url);
      world.closeAfter(() => ws.close());
      ws.frame(0x81, Buffer.from('40'));
      await eventually(() => ws.received.includes('40{"sid"'), 'no CONNECT answer');
      ws.frame(0x01, Buffer.from('42'));
      ws.frame(0x00, Buffer.from('["pie'));
      ws.frame(0x89, Buffer.from('ping'));
      ws.frame(0x80, Buffer.from('ces","ä"]'));
      assert.equal((await world.backend.nextMessage('pieces')).payload.json, '["ä"]');
      // It has left before the event, but the two take different ways to here.
      await eventually(() => ws.received.includes(Buffer.from([0x8a, 4, ...Buffer.from('ping')])), 'no pong');
    });
  });

  describe('what is no HTTP', () => {
    for (const [what, text] of Object.entries({
      'random bytes': '\x00\x01\x02\x03 nonsense\r\n\r\n',
      'a TLS hello': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n',
      'a header without end': `GET /socket.io/ HTTP/1.1\r\nX: ${'x'.repeat(2_000_000)}`,
    })) {
      it(what, () => exchange(world.url, text).catch((error) => assert.match(error.code, /^(ECONNRESET|EPIPE)$/)));
    }
  });
});

describe('a message over the limit from a stock client', () => {
  const world = useWorld({ routes: everythingToBackend, limits: { max_payload: '100KB' } });

  for (const { name, ...spec } of combinations) {
    it(`${name}: that asks for an ack gets an error, and the session goes on`, { ...holdfastOnly('it closes the session') }, async () => {
      world.backend.handle = (event) => (event.type === connectEvent ? {} : { ack: { json: '["fine"]' } });
      const client = await world.connect(spec);
      const { id } = client;
      const [answer] = await ask(client, 'large', 'x'.repeat(200_000));
      assert.equal(typeof answer?.error?.code, 'string');
      assert.equal(typeof answer.error.message, 'string');
      assert.deepEqual(await ask(client, 'small'), ['fine']);
      assert.equal(client.id, id);
    });

    it(`${name}: just under the limit is fine`, async () => {
      world.backend.handle = (event) => (event.type === connectEvent ? {} : { ack: { json: '["fine"]' } });
      const client = await world.connect(spec);
      assert.deepEqual(await ask(client, 'large', 'x'.repeat(99_000)), ['fine']);
    });
  }
});
