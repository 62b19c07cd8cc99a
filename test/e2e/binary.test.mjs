// Buffers in events, pushes and acknowledgements, both ways.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { argsOf, attachmentsOf, connectEvent, payloadOf } from './harness/backend.mjs';
import { ask, combinations, inboxOf } from './harness/clients.mjs';
import { PollingSession, parsePayload } from './harness/raw_http.mjs';
import { RawWebSocket } from './harness/raw_websocket.mjs';
import { holdfastOnly } from './harness/target.mjs';
import { everythingToBackend, useWorld } from './harness/world.mjs';

const allBytes = Buffer.from([...Array(256).keys()]);
const bytes = (value) => Buffer.from(value);

describe('binary', () => {
  const world = useWorld({ routes: everythingToBackend });

  function script(room, onMessage = (event) => ({ ack: event.payload })) {
    world.backend.handle = (event) => (event.type === connectEvent ? { joinRooms: [room] } : onMessage(event));
  }

  for (const { name, ...spec } of combinations) {
    it(`${name}: a push with attachments`, async () => {
      const room = world.room();
      script(room);
      const got = inboxOf(await world.connect(spec), 'file');
      await world.api.push({ room }, 'file', ['a', allBytes, bytes('second'), { n: 1 }]);
      const [a, first, second, last] = await got.next();
      assert.deepEqual([a, bytes(first), bytes(second), last], ['a', allBytes, bytes('second'), { n: 1 }]);
    });

    it(`${name}: an attachment inside an object, an empty one, and text right after`, async () => {
      const room = world.room();
      script(room);
      const client = await world.connect(spec);
      const [file, text] = [inboxOf(client, 'file'), inboxOf(client, 'text')];
      await world.api.push({ room }, 'file', [], {
        payload: { json: '[{"deep":[{"_placeholder":true,"num":0}],"empty":{"_placeholder":true,"num":1}}]', attachments: ['AQID', ''] },
      });
      await world.api.push({ room }, 'text', ['after']);
      const [value] = await file.next();
      assert.deepEqual([bytes(value.deep[0]), bytes(value.empty)], [Buffer.from([1, 2, 3]), Buffer.alloc(0)]);
      assert.deepEqual(await text.next(), ['after']);
    });

    it(`${name}: an emitted Buffer, acknowledged with Buffers`, async () => {
      script(world.room(), (event) => {
        const [first, second] = attachmentsOf(event.payload);
        return { ack: payloadOf([second, 'swapped', first]) };
      });
      const client = await world.connect(spec);
      const [one, text, two] = await ask(client, 'file', allBytes, 'x', Buffer.from('zwei'));
      assert.deepEqual([bytes(one), text, bytes(two)], [Buffer.from('zwei'), 'swapped', allBytes]);
      const { payload } = await world.backend.nextMessage('file');
      assert.deepEqual(argsOf(payload), [{ _placeholder: true, num: 0 }, 'x', { _placeholder: true, num: 1 }]);
      assert.deepEqual(attachmentsOf(payload), [allBytes, Buffer.from('zwei')]);
    });

    it(`${name}: PushAndWait answered with a Buffer`, async () => {
      const room = world.room();
      script(room);
      const client = await world.connect(spec);
      client.on('ask', (data, answer) => answer(Buffer.concat([bytes(data), Buffer.from('!')])));
      const { acks } = await world.api.pushAndWait({ room }, 'ask', [Buffer.from('hey')]);
      assert.deepEqual(attachmentsOf(acks[0].payload), [Buffer.from('hey!')]);
    });

    it(`${name}: 200 KB of bytes, both ways`, async () => {
      const room = world.room();
      script(room);
      const client = await world.connect(spec);
      const got = inboxOf(client, 'large');
      const large = Buffer.alloc(200_000, allBytes);
      await world.api.push({ room }, 'large', [large]);
      const [down] = await got.next();
      assert.ok(bytes(down).equals(large), `${down.length} bytes`);
      const [back] = await ask(client, 'large', large);
      assert.ok(bytes(back).equals(large), `${back.length} bytes`);
    });
  }

  it('header and attachments are one unit, whatever is pushed beside them', async () => {
    const room = world.room();
    script(room);
    const client = await world.connect({ transport: 'websocket' });
    const got = inboxOf(client, 'file');
    const pushes = [...Array(30).keys()].flatMap((i) => [
      world.api.push({ room }, 'file', [i, Buffer.from(`one ${i}`), Buffer.from(`two ${i}`)]),
      world.api.push({ room }, 'text', ['between']),
    ]);
    await Promise.all(pushes);
    for (const [i, one, two] of await got.take(30)) {
      assert.deepEqual([bytes(one).toString(), bytes(two).toString()], [`one ${i}`, `two ${i}`]);
    }
  });

  describe('on the wire', () => {
    it('EIO4 polling: b and base64, no type digit', async () => {
      const room = world.room();
      script(room);
      const session = await PollingSession.connect(world.url);
      world.closeAfter(() => session.close());
      await world.api.push({ room }, 'file', [Buffer.from([1, 2, 3])]);
      const { body } = await session.get();
      assert.equal(body, '451-["file",{"_placeholder":true,"num":0}]\x1ebAQID');
      assert.equal((await session.post('451-7["up",{"_placeholder":true,"num":0}]', 'bBAUG')).body, 'ok');
      assert.equal(await session.next(), '461-7[{"_placeholder":true,"num":0}]');
      assert.deepEqual(await session.next(), Buffer.from([4, 5, 6]));
    });

    it('EIO3 polling without b64: the octet form, with byte lengths', async () => {
      const room = world.room();
      script(room);
      const session = await PollingSession.connect(world.url, { eio: 3 });
      world.closeAfter(() => session.close());
      await world.api.push({ room }, 'größe', [Buffer.from([1, 2, 3])]);
      const { headers, bytes: body } = await session.get();
      assert.equal(headers['content-type'], 'application/octet-stream');
      const header = Buffer.from('451-["größe",{"_placeholder":true,"num":0}]');
      const digits = [...String(header.length)].map(Number);
      assert.deepEqual(body, Buffer.concat([Buffer.from([0, ...digits, 0xff]), header, Buffer.from([1, 4, 0xff, 4, 1, 2, 3])]));
    });

    it('EIO3 polling: the octet form in a POST', async () => {
      script(world.room());
      const session = await PollingSession.connect(world.url, { eio: 3 });
      world.closeAfter(() => session.close());
      const header = Buffer.from('451-7["größe",{"_placeholder":true,"num":0}]');
      const digits = [...String(header.length)].map(Number);
      const body = Buffer.concat([Buffer.from([0, ...digits, 0xff]), header, Buffer.from([1, 4, 0xff, 4, 1, 2, 3])]);
      const { status } = await session.post(body);
      assert.equal(status, 200);
      assert.deepEqual(attachmentsOf((await world.backend.nextMessage('größe')).payload), [Buffer.from([1, 2, 3])]);
      assert.equal(await session.next(), '461-7[{"_placeholder":true,"num":0}]');
      assert.deepEqual(await session.next(), Buffer.from([1, 2, 3]));
    });

    it('EIO3 polling with b64 in the handshake: base64 inside the text form', async () => {
      const room = world.room();
      script(room);
      const session = await PollingSession.connect(world.url, { eio: 3, query: { b64: '1' } });
      world.closeAfter(() => session.close());
      await world.api.push({ room }, 'file', [Buffer.from([1, 2, 3])]);
      const { body, headers, bytes: raw } = await session.get();
      const header = '451-["file",{"_placeholder":true,"num":0}]';
      assert.equal(body, `${header.length}:${header}6:b4AQID`);
      assert.match(headers['content-type'], /^text\/plain/);
      assert.deepEqual(parsePayload(3, raw)[1], Buffer.from([1, 2, 3]));
      await session.post('451-7["up",{"_placeholder":true,"num":0}]', 'b4BAUG');
      assert.deepEqual(attachmentsOf((await world.backend.nextMessage('up')).payload), [Buffer.from([4, 5, 6])]);
    });

    it('WebSocket: EIO3 frames have a leading 4, EIO4 frames have not', async () => {
      const room = world.room();
      script(room);
      for (const [eio, down, up] of [
        [4, [1, 2, 3], [9, 8]],
        [3, [4, 1, 2, 3], [4, 9, 8]],
      ]) {
        const ws = await RawWebSocket.connect(world.url, { eio });
        world.closeAfter(() => ws.close());
        await world.api.push({ client: ws.id }, 'file', [Buffer.from([1, 2, 3])]);
        assert.equal(await ws.next(), '451-["file",{"_placeholder":true,"num":0}]');
        assert.deepEqual(await ws.next(), Buffer.from(down));
        ws.send(`451-["up${eio}",{"_placeholder":true,"num":0}]`);
        ws.send(Buffer.from(up));
        assert.deepEqual(attachmentsOf((await world.backend.nextMessage(`up${eio}`)).payload), [Buffer.from([9, 8])]);
      }
    });

    it('WebSocket: EIO3 with b64 gets b4 text, and both versions may send base64 text', async () => {
      const room = world.room();
      script(room);
      const three = await RawWebSocket.connect(world.url, { eio: 3, query: { b64: '1' } });
      const four = await RawWebSocket.connect(world.url);
      world.closeAfter(() => (three.close(), four.close()));
      await world.api.push({ client: three.id }, 'file', [Buffer.from([1, 2, 3])]);
      await three.next();
      assert.equal(String(await three.next()), 'b4AQID');
      for (const [ws, text, name] of [
        [three, 'b4BAUG', 'three'],
        [four, 'bBAUG', 'four'],
      ]) {
        ws.send(`451-["${name}",{"_placeholder":true,"num":0}]`);
        ws.send(text);
        assert.deepEqual(attachmentsOf((await world.backend.nextMessage(name)).payload), [Buffer.from([4, 5, 6])]);
      }
    });

    it('a binary event that announces no attachments is legal', { ...holdfastOnly('it waits for an attachment that never comes') }, async () => {
      script(world.room());
      const ws = await RawWebSocket.connect(world.url);
      world.closeAfter(() => ws.close());
      ws.send('450-["none",1]');
      assert.equal((await world.backend.nextMessage('none')).payload.json, '[1]');
    });
  });
});
