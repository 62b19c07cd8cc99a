// What the HTTP side answers to requests that are wrong, byte for byte.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { describe, it } from 'node:test';
import { connected, makeClient } from './harness/clients.mjs';
import { PollingSession, exchange, parseAnswer, request, upgradeRequest } from './harness/raw_http.mjs';
import { RawWebSocket } from './harness/raw_websocket.mjs';
import { holdfastOnly, onHoldfast } from './harness/target.mjs';
import { eventually } from './harness/wait.mjs';
import { useWorld } from './harness/world.mjs';

const messages = [
  'Transport unknown',
  'Session ID unknown',
  'Bad handshake method',
  'Bad request',
  'Forbidden',
  'Unsupported protocol version',
];
const bodyOf = (code) => `{"code":${code},"message":"${messages[code]}"}`;
const strict = holdfastOnly('it takes every other version for 3');

describe('errors', () => {
  const world = useWorld();

  async function assertError(answer, code) {
    const { status, body, headers } = await answer;
    assert.deepEqual([status, body], [400, bodyOf(code)]);
    assert.match(headers['content-type'], /^application\/json/);
  }

  const assertGone = (session) => assertError(session.afterEnd(), 1);

  const ask = (query, options) => request(`${world.url}/socket.io/?${query}`, options);
  const polling = 'EIO=4&transport=polling';

  describe('before there is a session', () => {
    const cases = [
      ['no transport', 'EIO=4', {}, 0],
      ['an unknown transport', 'EIO=4&transport=carrier-pigeon', {}, 0],
      ['a transport named like a property', 'EIO=4&transport=constructor', {}, 0],
      ['an unknown sid', `${polling}&sid=nobody`, {}, 1],
      ['a sid of a fitting length', `${polling}&sid=${'A'.repeat(23)}`, {}, 1],
      ['a handshake by POST', polling, { method: 'POST', body: '' }, 2],
      ['a handshake by PUT', polling, { method: 'PUT', body: '' }, 2],
      ['websocket without an Upgrade header', 'EIO=4&transport=websocket', {}, 3],
      ['no EIO', 'transport=polling', {}, 5, strict],
      ['EIO=2', 'EIO=2&transport=polling', {}, 5, strict],
      ['EIO=5', 'EIO=5&transport=polling', {}, 5, strict],
      ['EIO=abc', 'EIO=abc&transport=polling', {}, 5, strict],
    ];
    for (const [what, query, options, code, skip = {}] of cases) {
      it(`${what}: code ${code}`, skip, () => assertError(ask(query, options), code));
    }

    it('checks come in order: transport, session, method, version', async () => {
      await assertError(ask('EIO=9&transport=pigeon&sid=nobody', { method: 'POST' }), 0);
      await assertError(ask('EIO=9&transport=polling&sid=nobody', { method: 'POST' }), 1);
      await assertError(ask('EIO=9&transport=polling', { method: 'POST' }), 2);
    });
  });

  describe('a WebSocket that is refused before the 101', () => {
    const cases = [
      ['an unknown transport', 'EIO=4&transport=pigeon', 0],
      ['an unknown sid', 'EIO=4&transport=websocket&sid=nobody', 1],
      ['an unsupported version', 'EIO=2&transport=websocket', 5, strict],
      ['no version', 'transport=websocket', 5, strict],
    ];
    for (const [what, query, code, skip = {}] of cases) {
      it(`${what}: 400 with "${messages[code]}" alone`, skip, async () => {
        const { statusLine, headers, body } = parseAnswer(await exchange(world.url, upgradeRequest(world.url, query)));
        assert.equal(statusLine, 'HTTP/1.1 400 Bad Request');
        assert.equal(headers.connection.toLowerCase(), 'close');
        assert.match(headers['content-type'], /^text\/html/);
        assert.equal(headers['content-length'], String(messages[code].length));
        assert.equal(body, messages[code]);
      });
    }
  });

  describe('on a session', () => {
    it('the sid of a WebSocket session, used by polling: code 3, and it lives on', async () => {
      const ws = await RawWebSocket.connect(world.url);
      world.closeAfter(() => ws.close());
      await assertError(ask(`${polling}&sid=${ws.sid}`), 3);
      await assertError(ask(`${polling}&sid=${ws.sid}`, { method: 'POST', body: '42["x"]' }), 3);
      await world.api.push({ client: ws.id }, 'still', []);
      assert.equal(await ws.next(), '42["still"]');
    });

    it('an upgraded sid, used by polling: code 3, and it lives on', async () => {
      const client = await world.connect({ transport: 'upgrade' });
      const late = `${polling}&sid=${client.io.engine.id}`;
      // One that overtakes the client's last word on the old transport gets a noop.
      while ((await ask(late)).body === '6');
      await assertError(ask(late), 3);
      assert.equal((await world.api.listClients({ client: client.id })).clients.length, 1);
    });

    for (const method of ['PUT', 'DELETE', 'PATCH']) {
      it(`${method} with a known sid: 500`, async () => {
        const session = await PollingSession.connect(world.url);
        world.closeAfter(() => session.close());
        assert.equal((await request(session.address(), { method, agent: session.agent })).status, 500);
      });
    }

    it('two GETs at once: the first gets 1, the second an empty 400, the session is gone', async () => {
      for (const eio of [3, 4]) {
        const session = await PollingSession.connect(world.url, { eio });
        const [first, second] = await twoAtOnce(() => session.get());
        assert.deepEqual([second.status, second.body], [400, '']);
        assert.deepEqual([first.status, first.body], [200, eio === 3 ? '1:1' : '1']);
        await assertError(session.get(), 1);
        session.agent.destroy();
      }
    });

    /** Starts two polls; the refused one is given back as the second, whichever arrived first. */
    async function twoAtOnce(get) {
      const answers = await Promise.all([get(), get()]);
      return answers.sort((a, b) => a.status - b.status);
    }

    /** Sends a request, or the start of one that announces more than it brings; the caller hangs up. */
    async function send(session, method) {
      const { hostname, port, host, search } = new URL(session.address());
      const socket = connect(Number(port), hostname);
      socket.on('error', () => {});
      const body = method === 'POST' ? 'Content-Type: text/plain\r\nContent-Length: 100\r\n\r\n42["x"]' : '\r\n';
      await new Promise((resolve) => socket.write(`${method} /socket.io/${search} HTTP/1.1\r\nHost: ${host}\r\n${body}`, resolve));
      // The server must have begun with it before anything else comes.
      await new Promise((resolve) => setTimeout(resolve, 50));
      return socket;
    }

    it('two POSTs at once: 400 for the second, the session is gone', async () => {
      const session = await PollingSession.connect(world.url);
      const first = await send(session, 'POST');
      assert.equal((await session.post('42["y"]')).status, 400);
      await assertGone(session);
      first.destroy();
    });

    for (const method of ['GET', 'POST']) {
      it(`a ${method} that the client aborts closes the session`, async () => {
        const session = await PollingSession.connect(world.url);
        (await send(session, method)).destroy();
        const after = await eventually(async () => {
          const answer = await session.post('42["z"]');
          return answer.status === 200 ? null : answer;
        }, 'the session lives on');
        assert.equal(after.status, 400);
        session.agent.destroy();
      });
    }

    it('a POST over the limit: 413, and the session lives on', async () => {
      const session = await PollingSession.connect(world.url);
      world.closeAfter(() => session.close());
      const { status } = await session.postBody('4'.padEnd(1_000_001, 'x')).catch((error) => ({ status: error.code }));
      // A client that is still sending when the connection closes sees a reset.
      assert.ok([413, 'ECONNRESET', 'EPIPE'].includes(status), String(status));
      await world.api.push({ client: session.id }, 'still', []);
      assert.equal(await session.next(), '42["still"]');
    });

    it('a payload that is none: 400, and the session is gone', async () => {
      for (const [eio, body] of [
        [4, 'abc'],
        [4, ''],
        [3, 'abc'],
        [3, '5:42'],
        [3, ''],
      ]) {
        const session = await PollingSession.connect(world.url, { eio });
        const { status } = await session.postBody(body);
        if (onHoldfast) assert.equal(status, 400, `EIO${eio} ${JSON.stringify(body)}`);
        if (onHoldfast || body !== '') await assertGone(session);
      }
    });

    it('EIO4: application/octet-stream is refused, and the session is gone', async () => {
      const session = await PollingSession.connect(world.url);
      assert.equal((await session.post(Buffer.from([0, 1, 255]))).status, 400);
      await assertGone(session);
    });

    it('an event before the CONNECT: POST ok, then the end', async () => {
      const session = await PollingSession.open(world.url);
      assert.equal((await session.post('42["x"]')).body, 'ok');
      assert.match((await session.get()).body, /^(6\x1e)?1$/);
      await assertError(session.get(), 1);
      session.agent.destroy();
    });

    it('all of this cost nobody else anything', async (t) => {
      const client = makeClient(world.url, { auth: { guid: 'bystander' } });
      t.after(() => client.close());
      await connected(client);
      const got = new Promise((resolve) => client.once('hello', resolve));
      await world.api.push({ room: 'bystander' }, 'hello', [1]);
      assert.equal(await got, 1);
    });
  });
});

describe('the connect timeout', () => {
  const world = useWorld({ timeouts: { connect: '300ms' } });

  it('closes an EIO4 transport that never sends a CONNECT', async () => {
    const ws = await RawWebSocket.open(world.url);
    await ws.closedWithin();
  });

  it('leaves a client that did alone', async () => {
    const ws = await RawWebSocket.connect(world.url);
    world.closeAfter(() => ws.close());
    const never = await RawWebSocket.open(world.url);
    await never.closedWithin(); // so the time has passed for the first one too
    await world.api.push({ client: ws.id }, 'still', []);
    assert.equal(await ws.next(), '42["still"]');
  });
});
