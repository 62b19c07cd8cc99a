// Long-polling byte for byte: answers, their headers, JSONP.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { attachmentsOf, connectEvent } from './harness/backend.mjs';
import { PollingSession, parsePayload, request } from './harness/raw_http.mjs';
import { onHoldfast } from './harness/target.mjs';
import { eventually } from './harness/wait.mjs';
import { World, everythingToBackend, useWorld } from './harness/world.mjs';

describe('polling', () => {
  const world = useWorld({ routes: everythingToBackend });

  function script(room) {
    world.backend.handle = (event) => (event.type === connectEvent ? { joinRooms: [room] } : { ack: event.payload });
  }

  for (const eio of [3, 4]) {
    it(`EIO${eio}: the headers of answers`, async () => {
      script(world.room());
      const session = await PollingSession.connect(world.url, { eio });
      world.closeAfter(() => session.close());
      const post = await session.post('421["x"]');
      assert.deepEqual([post.status, post.body, post.headers['content-type'], post.headers['content-length']], [200, 'ok', 'text/html', '2']);
      assert.equal(post.headers['cache-control'], 'no-store');
      const get = await session.get();
      assert.equal(get.headers['content-type'], 'text/plain; charset=UTF-8');
      assert.equal(get.headers['cache-control'], 'no-store');
      assert.equal(get.headers['set-cookie'], undefined);
      assert.equal(get.body, eio === 3 ? '5:431[]' : '431[]');
    });
  }

  it('EIO4: several packets in one body are joined by 0x1e', async () => {
    const room = world.room();
    script(room);
    const session = await PollingSession.connect(world.url);
    world.closeAfter(() => session.close());
    await world.api.push({ room }, 'n', [1]);
    await world.api.push({ room }, 'n', [2]);
    await world.arrived();
    assert.equal((await session.get()).body, '42["n",1]\x1e42["n",2]');
  });

  it('EIO3: the ping of a client is answered by a bare pong', async () => {
    const session = await PollingSession.connect(world.url, { eio: 3 });
    world.closeAfter(() => session.close());
    await session.post('2');
    assert.equal((await session.get()).body, '1:3');
  });

  it('a client that closes gets its waiting poll answered, and the session is gone', async () => {
    for (const eio of [3, 4]) {
      const session = await PollingSession.connect(world.url, { eio });
      const waiting = await session.waitingGet();
      assert.equal((await session.post('1')).body, 'ok');
      assert.equal((await waiting.answer).body, eio === 3 ? '1:6' : '6');
      const after = await session.get();
      assert.deepEqual([after.status, JSON.parse(after.body).code], [400, 1]);
      session.agent.destroy();
    }
  });

  it('a server close answers the waiting poll with 1', async () => {
    const session = await PollingSession.connect(world.url);
    const waiting = await session.waitingGet();
    await world.api.disconnect({ client: session.id }, { allowReconnect: true });
    assert.match((await waiting.answer).body, /^(6\x1e)?1$/); // Node puts a noop before it
    assert.equal((await session.get()).status, 400);
    session.agent.destroy();
  });

  it('the path is a prefix, and any query goes', async () => {
    for (const path of ['/socket.io/', '/socket.io/deeper']) {
      const { status, body } = await request(`${world.url}${path}?EIO=4&transport=polling&t=abc123&anything=else`);
      assert.equal(status, 200, path);
      assert.equal(body[0], '0');
    }
    assert.equal((await request(`${world.url}/other/?EIO=4&transport=polling`)).status, 404);
  });

  it('heartbeat of EIO4: the server pings, and a silent session is gone', async (t) => {
    const quick = new World();
    await quick.start({ heartbeat: { interval: '300ms', timeout: '300ms', adaptive: false } });
    t.after(() => quick.stop());
    const session = await PollingSession.connect(quick.url);
    assert.deepEqual([session.handshake.pingInterval, session.handshake.pingTimeout], [300, 300]);
    assert.equal((await session.get()).body, '2');
    // A poll would be a sign of life: the API tells without one.
    await eventually(async () => (await quick.api.countClients({ all: true })).clients === 0, 'the silent session still lives');
    assert.equal((await session.get()).status, 400);
    session.agent.destroy();
  });
});

describe('JSONP', () => {
  const world = useWorld({ routes: everythingToBackend });

  function script(room) {
    world.backend.handle = (event) => (event.type === connectEvent ? { joinRooms: [room] } : { ack: event.payload });
  }

  /** What a script element would have made of the answer, for the index it asked for. */
  function unwrap(body, j = 0) {
    const [, index, literal] = /^___eio\[(\d+)\]\((".*")\);$/s.exec(body);
    assert.equal(Number(index), j);
    return JSON.parse(literal);
  }

  for (const eio of [3, 4]) {
    it(`EIO${eio}: handshake, events and answers as scripts`, async () => {
      const room = world.room();
      script(room);
      const session = new PollingSession(world.url, { eio, query: { j: '0' } });
      world.closeAfter(() => session.close());
      const open = await session.get();
      assert.match(open.headers['content-type'], onHoldfast ? /^text\/javascript/ : /^text\/plain/);
      const [packet] = parsePayload(eio, Buffer.from(unwrap(open.body)));
      session.sid = JSON.parse(packet.slice(1)).sid;
      const form = (payload) => session.postBody(`d=${encodeURIComponent(payload)}`, 'application/x-www-form-urlencoded');
      const counted = (text) => (eio === 3 ? `${text.length}:${text}` : text);
      if (eio === 4) assert.equal((await form('40')).body, 'ok');
      assert.match(unwrap((await session.get()).body), eio === 3 ? /^2:40$/ : /^40\{/);

      await world.api.push({ room }, 'n', ['größe 😀 \u2028 "quoted"']);
      const pushed = await session.get();
      assert.ok(!/[\u2028\u2029]/.test(pushed.body), 'U+2028 unescaped in a script');
      const [event] = parsePayload(eio, Buffer.from(unwrap(pushed.body)));
      assert.deepEqual(JSON.parse(event.slice(2)), ['n', 'größe 😀 \u2028 "quoted"']);

      // A form cannot carry a newline as it is: the client doubles a backslash before n.
      const text = JSON.stringify(['up', 'line\nbreak', 'ä😀']);
      const answer = await form(counted(`421${text}`).replace(/\\n/g, '\\\\n'));
      assert.deepEqual([answer.status, answer.body, answer.headers['content-type']], [200, 'ok', 'text/html']);
      const [ack] = parsePayload(eio, Buffer.from(unwrap((await session.get()).body)));
      assert.deepEqual(JSON.parse(ack.slice(3)), ['line\nbreak', 'ä😀']);
    });
  }

  it('EIO3: binary goes as base64', async () => {
    const room = world.room();
    script(room);
    // The v2 client sends b64 beside j; Node needs it, though nothing else can go into a script.
    const query = onHoldfast ? { j: '0' } : { j: '0', b64: '1' };
    const session = new PollingSession(world.url, { eio: 3, query });
    world.closeAfter(() => session.close());
    const [open, connect] = parsePayload(3, Buffer.from(unwrap((await session.get()).body)));
    session.sid = JSON.parse(open.slice(1)).sid;
    if (!connect) await session.get();
    await world.api.push({ room }, 'file', [Buffer.from([1, 2, 3])]);
    assert.match(unwrap((await session.get()).body), /6:b4AQID$/);
    const header = '451-["up",{"_placeholder":true,"num":0}]';
    await session.postBody(`d=${encodeURIComponent(`${header.length}:${header}6:b4BAUG`)}`, 'application/x-www-form-urlencoded');
    assert.deepEqual(attachmentsOf((await world.backend.nextMessage('up')).payload), [Buffer.from([4, 5, 6])]);
  });

  it('the index is digits alone: nothing of it gets into the script', async () => {
    const { body } = await request(`${world.url}/socket.io/?EIO=3&transport=polling&j=${encodeURIComponent('1];alert(1);//2')}`);
    assert.match(body, /^___eio\[\d*\]\("/);
  });
});
