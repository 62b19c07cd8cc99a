// From the clients to a backend: events, their acknowledgements, order, relays.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { argsOf, connectEvent, messageEvent, payloadOf } from './harness/backend.mjs';
import { ask, combinations, everythingOf, inboxOf } from './harness/clients.mjs';
import { RawWebSocket } from './harness/raw_websocket.mjs';
import { holdfastOnly } from './harness/target.mjs';
import { useWorld } from './harness/world.mjs';

const joinGuid = (event) => {
  const guid = event.query?.guid ?? JSON.parse(event.auth).guid;
  return guid ? { joinRooms: [guid] } : {};
};

describe('events', () => {
  const world = useWorld({
    routes: [
      { type: 'connect', backend: 'app' },
      { event: 'cursor', relay: 'others', volatile: true, collapse: true },
      { event: 'say', relay: 'others' },
      { event: 'kept:*', backend: 'app', ack: 'durable' },
      { event: 'nothing', drop: true },
      { event: '*', backend: 'app', ack: 'backend' },
    ],
  });

  /**
   * Handles messages by `onMessage` and puts connecting clients into their guid's
   * room. The DISCONNECT of an earlier case's client may come in between.
   */
  function script(onMessage) {
    world.backend.handle = (event) => {
      if (event.type === connectEvent) return joinGuid(event);
      return event.type === messageEvent ? (onMessage(event) ?? {}) : {};
    };
  }

  for (const { name, ...spec } of combinations) {
    it(`${name}: the backend answers the acknowledgement`, async () => {
      script((event) => ({ ack: payloadOf([...argsOf(event.payload).reverse(), { event: event.event }]) }));
      const client = await world.connect(spec);
      assert.deepEqual(await ask(client, 'question', 1, 'two', { three: [3] }), [{ three: [3] }, 'two', 1, { event: 'question' }]);
      const event = await world.backend.nextMessage('question');
      assert.equal(event.wantsAck, true);
      assert.equal(event.payload.json, '[1,"two",{"three":[3]}]');
      assert.ok(client.id.startsWith(event.client.id));
    });

    it(`${name}: an event without arguments has the payload []`, async () => {
      script(() => {});
      const client = await world.connect(spec);
      client.emit('bare');
      const event = await world.backend.nextMessage('bare');
      assert.equal(event.payload.json, '[]');
      assert.equal(event.wantsAck ?? false, false);
    });

    it(`${name}: an acknowledgement without arguments`, async () => {
      script(() => ({ ack: { json: '[]' } }));
      assert.deepEqual(await ask(await world.connect(spec), 'question'), []);
    });

    it(`${name}: ack: durable answers by itself`, async () => {
      script(() => {});
      assert.deepEqual(await ask(await world.connect(spec), 'kept:note', 1), []);
      assert.equal((await world.backend.nextMessage('kept:note')).payload.json, '[1]');
    });

    it(`${name}: a failing backend gives an error as the acknowledgement`, async () => {
      script(() => {
        throw new Error('broken');
      });
      const [answer, ...rest] = await ask(await world.connect(spec), 'question');
      assert.deepEqual(rest, []);
      assert.deepEqual(Object.keys(answer), ['error']);
      assert.equal(typeof answer.error.code, 'string');
      assert.equal(typeof answer.error.message, 'string');
    });

    it(`${name}: relay goes to the sender's rooms without the sender`, async () => {
      const room = world.room();
      script(() => {});
      const sender = await world.connect({ ...spec, auth: { guid: room } });
      const peer = await world.connect({ ...spec, auth: { guid: room } });
      const stranger = await world.connect({ ...spec, auth: { guid: `${room}-other` } });
      const [senderGot, peerGot, strangerGot] = [sender, peer, stranger].map(everythingOf);
      sender.emit('say', 'hello', { n: 1 });
      assert.deepEqual(await peerGot.next(), ['say', 'hello', { n: 1 }]);
      await world.api.push({ all: true }, 'marker');
      assert.deepEqual(await senderGot.next(), ['marker']);
      assert.deepEqual(await strangerGot.next(), ['marker']);
    });

    it(`${name}: what has too many attachments to be relayed is not said to be done`, holdfastOnly('it has no such bound'), async () => {
      script(() => {});
      const sender = await world.connect({ ...spec, auth: { guid: world.room() } });
      const [{ error }] = await ask(sender, 'say', ...Array(11).fill(Buffer.from([1])));
      assert.deepEqual(error, { code: 'INVALID_ARGUMENT', message: '11 attachments are more than the 10 that can be sent on' });
    });

    it(`${name}: the reply's pushes are routed before the session's next event`, async () => {
      const room = world.room();
      script((event) => ({
        pushes: [{ targets: [{ room }], event: 'said', payload: event.payload }],
      }));
      const client = await world.connect({ ...spec, auth: { guid: room } });
      const said = inboxOf(client, 'said');
      for (let i = 0; i < 20; i += 1) client.emit('speak', i);
      assert.deepEqual((await said.take(20)).flat(), [...Array(20).keys()]);
    });
  }

  it('1,000 numbered events of each client reach the backend once and in order', async () => {
    const seen = new Map();
    script((event) => {
      if (!seen.has(event.client.id)) seen.set(event.client.id, []);
      seen.get(event.client.id).push(argsOf(event.payload)[0]);
      return { ack: { json: '[]' } };
    });
    const clients = [];
    for (const spec of combinations) clients.push(await world.connect(spec));
    await Promise.all(
      clients.map((client) => {
        for (let i = 0; i < 1000; i += 1) client.emit('n', i);
        // Acknowledged in its turn, after all that came before it.
        return new Promise((resolve) => client.emit('n', 'end', resolve));
      }),
    );
    assert.equal(seen.size, clients.length);
    for (const numbers of seen.values()) assert.deepEqual(numbers, [...Array(1000).keys(), 'end']);
  });

  it('events of one session reach the backend one at a time', async () => {
    let [running, most] = [0, 0];
    script(async () => {
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setTimeout(resolve, 5));
      running -= 1;
      return { ack: { json: '[]' } };
    });
    const client = await world.connect({});
    await Promise.all([...Array(10).keys()].map((i) => ask(client, 'n', i)));
    assert.equal(most, 1);
  });

  it('a slow session does not hold up another', async () => {
    let release;
    const held = new Promise((resolve) => (release = resolve));
    script(async (event) => {
      if (event.event === 'slow') await held;
      return { ack: { json: '[]' } };
    });
    const [slow, quick] = [await world.connect({}), await world.connect({})];
    const slowAnswer = ask(slow, 'slow');
    await world.backend.nextMessage('slow');
    assert.deepEqual(await ask(quick, 'quick'), []);
    release();
    assert.deepEqual(await slowAnswer, []);
  });

  it('join_rooms and leave_rooms of a reply', async () => {
    const [one, two] = [world.room(), world.room()];
    script((event) => ({ joinRooms: [two], leaveRooms: [one], ack: { json: '[]' } }));
    const client = await world.connect({ auth: { guid: one } });
    await ask(client, 'move');
    assert.deepEqual((await world.api.getClient(client.id)).rooms, [two]);
  });

  it('the first route that matches wins, and drop means drop', { ...holdfastOnly('it has no drop rule') }, async () => {
    script(() => {});
    const client = await world.connect({});
    client.emit('nothing', 1);
    client.emit('something', 2);
    assert.equal((await world.backend.next((e) => e.type === messageEvent)).event, 'something');
  });

  it('the arguments reach the backend as they were written', { ...holdfastOnly('it parses JSON and writes it anew') }, async () => {
    script(() => {});
    const raw = await RawWebSocket.connect(world.url);
    world.closeAfter(() => raw.close());
    raw.send('42["x",{"z":1.0, "a":"<&>"} , "\\ud800",12345678901234567890]');
    const { payload } = await world.backend.nextMessage('x');
    assert.match(payload.json, /^\[\s*\{"z":1\.0, "a":"<&>"\} , "\\ud800",12345678901234567890\]$/);
  });

  it('a number as event name', async () => {
    script(() => {});
    const raw = await RawWebSocket.connect(world.url);
    world.closeAfter(() => raw.close());
    raw.send('42[7,"x"]');
    const event = await world.backend.next((e) => e.type === messageEvent);
    assert.equal(String(event.event), '7');
    assert.equal(event.payload.json, '["x"]');
  });

  it('acknowledgement IDs are echoed, however large or out of order', async () => {
    script((event) => ({ ack: event.payload }));
    const raw = await RawWebSocket.connect(world.url);
    world.closeAfter(() => raw.close());
    for (const id of [0, 9007199254740991, 3]) raw.send(`42${id}["x",${id}]`);
    assert.deepEqual([await raw.next(), await raw.next(), await raw.next()], ['430[0]', '439007199254740991[9007199254740991]', '433[3]']);
  });

  it('an acknowledgement that nobody asked for is ignored', async () => {
    script(() => ({ ack: { json: '[]' } }));
    const raw = await RawWebSocket.connect(world.url);
    world.closeAfter(() => raw.close());
    raw.send('4399["never asked"]');
    raw.send('421["x"]');
    assert.equal(await raw.next(), '431[]');
  });
});
