// TLS on the clients' listener: stock clients, polling over HTTP/2, session tickets,
// a certificate that is renewed, and peers that do what browsers never would.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectHTTP2, constants } from 'node:http2';
import { connect as connectTCP } from 'node:net';
import { after, describe, it } from 'node:test';
import { connect as connectTLS } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { connectEvent, disconnectEvent } from './harness/backend.mjs';
import { Certificate } from './harness/certificate.mjs';
import { ask, combinations, inboxOf } from './harness/clients.mjs';
import { exchange, upgradeRequest } from './harness/raw_http.mjs';
import { engine, holdfastOnly, oneProcessOnly } from './harness/target.mjs';
import { defaultLimit, eventually, within } from './harness/wait.mjs';
import { everythingToBackend, useWorld } from './harness/world.mjs';

const only = { ...holdfastOnly('TLS'), ...oneProcessOnly('its balancer speaks plain HTTP') };

const bundle = fileURLToPath(new URL('node_modules/socket.io-client-4/dist', import.meta.url));

describe('tls', only, () => {
  const certificate = new Certificate();
  after(() => certificate.remove());
  const world = useWorld({
    tls: { cert: certificate.cert, key: certificate.key }, routes: everythingToBackend, client_bundle: bundle,
  });

  /** The backend puts everybody in a room and answers events with what they brought. */
  function script(room) {
    world.backend.handle = (event) => (event.type === connectEvent ? { joinRooms: [room] } : { ack: event.payload });
  }

  function client(spec = {}) {
    return world.connect({ ...spec, options: { ca: certificate.pem } });
  }

  /** A TLS connection by hand, closed after the case. */
  async function dial(options = {}) {
    const { port } = new URL(world.url);
    const socket = connectTLS({ host: '127.0.0.1', port, ca: certificate.pem, ...options });
    socket.on('error', () => {}); // the close that follows says it
    world.closeAfter(() => socket.destroy());
    await within(defaultLimit, Promise.race([once(socket, 'secureConnect'), once(socket, 'close').then(() => assert.fail('no handshake'))]), 'no handshake');
    return socket;
  }

  /** A WebSocket on such a connection, past its open packet. */
  async function webSocket(options) {
    const socket = await dial({ ALPNProtocols: ['http/1.1'], ...options });
    socket.write(upgradeRequest(world.url, 'EIO=4&transport=websocket'));
    let seen = '';
    socket.on('data', (data) => (seen += data.toString('latin1')));
    await eventually(() => seen.includes('"sid"'), 'no open packet');
    assert.match(seen, /^HTTP\/1\.1 101 /);
    return socket;
  }

  it('the address says https', () => {
    assert.match(world.url, /^https:/);
  });

  for (const { version, transport, name } of combinations) {
    it(`${name}: events up and down, small and large, and the end`, async () => {
      const room = world.room();
      script(room);
      const c = await client({ version, transport });
      const pushed = inboxOf(c, 'news');
      const large = 'x'.repeat(300_000);
      assert.deepEqual(await ask(c, 'up', 1, 'ä'), [1, 'ä']);
      assert.deepEqual(await ask(c, 'up', large), [large]);
      for (let n = 0; n < 20; n += 1) await world.api.push({ room }, 'news', [n, n % 5 === 0 ? large : 'small']);
      const got = await pushed.take(20);
      assert.deepEqual(got.map(([n]) => n), [...Array(20).keys()]);
      assert.equal(got[15][1], large);
      assert.equal(c.io.engine.transport.name, transport === 'polling' ? 'polling' : 'websocket');
      c.close();
      await world.backend.next((e) => e.type === disconnectEvent);
    });
  }

  if (engine !== 'goroutines') {
    it('clients that neither read nor write take no goroutines', async () => {
      const goroutines = async () => Number((await (await fetch(`${world.gateway.api}/metrics`)).text()).match(/^go_goroutines (\d+)/m)[1]);
      const before = await goroutines();
      await Promise.all([...Array(40).keys()].map(() => webSocket()));
      await eventually(async () => (await goroutines()) < before + 20, '40 WebSockets have as many goroutines');
    });
  }

  describe('http/2', () => {
    /** One request; returns status and body. */
    async function ask2(session, method, path, body, seen) {
      const stream = session.request({ ':method': method, ':path': path, 'content-type': 'text/plain;charset=UTF-8' });
      seen?.(stream);
      const chunks = [];
      stream.on('data', (chunk) => chunks.push(chunk));
      const head = once(stream, 'response');
      stream.end(body);
      const [headers] = await within(defaultLimit, head, `no answer to ${method} ${path}`);
      if (!stream.readableEnded) await once(stream, 'end');
      return { status: headers[':status'], body: Buffer.concat(chunks).toString() };
    }

    async function open() {
      const session = connectHTTP2(world.url, { ca: certificate.pem });
      world.closeAfter(() => session.destroy());
      await within(defaultLimit, once(session, 'connect'), 'no HTTP/2');
      assert.equal(session.alpnProtocol, 'h2');
      const path = '/socket.io/?EIO=4&transport=polling';
      const { status, body } = await ask2(session, 'GET', path);
      assert.equal(status, 200);
      return { session, path: `${path}&sid=${JSON.parse(body.slice(1)).sid}` };
    }

    it('handshake, post and poll share one connection', async () => {
      const room = world.room();
      script(room);
      const { session, path } = await open();
      const poll = ask2(session, 'GET', path);
      assert.deepEqual(await ask2(session, 'POST', path, '40'), { status: 200, body: 'ok' });
      assert.match((await poll).body, /^40\{"sid":/);
      const waiting = ask2(session, 'GET', path);
      await world.api.push({ room }, 'news', ['by HTTP/2']);
      assert.deepEqual(await waiting, { status: 200, body: '42["news","by HTTP/2"]' });
      await ask2(session, 'POST', path, '421["up",1]');
      assert.equal((await ask2(session, 'GET', path)).body, '431[1]');
    });

    it('a cancelled poll ends its session and no other of the connection', async () => {
      script(world.room());
      const one = await open();
      const { body } = await ask2(one.session, 'GET', '/socket.io/?EIO=4&transport=polling');
      const other = `/socket.io/?EIO=4&transport=polling&sid=${JSON.parse(body.slice(1)).sid}`;
      const stream = one.session.request({ ':path': one.path });
      stream.on('error', () => {});
      await new Promise((resolve) => setTimeout(resolve, 100)); // nothing says that it has arrived
      stream.close(constants.NGHTTP2_CANCEL);
      await eventually(async () => (await ask2(one.session, 'POST', one.path, '3')).status === 400, 'the session lives on');
      assert.equal((await ask2(one.session, 'POST', other, '40')).status, 200);
    });
  });

  it('too large a header over HTTP/2 is refused, and costs nobody else anything', async () => {
    script(world.room());
    const other = await client();
    const lines = Object.fromEntries([...Array(40).keys()].map((n) => [`x-line-${n}`, 'x'.repeat(1000)]));
    for (const [name, headers] of Object.entries({ 'one line': { 'x-large': 'x'.repeat(40_000) }, 'many lines': lines })) {
      const session = connectHTTP2(world.url, { ca: certificate.pem });
      world.closeAfter(() => session.destroy());
      // By an answer, or by the end of this client's connection.
      const refused = new Promise((resolve) => session.once('error', () => resolve('closed')));
      const stream = session.request({ ':path': '/socket.io/?EIO=4&transport=polling', ...headers });
      const answered = new Promise((resolve) => stream.once('response', (head) => resolve(head[':status'])));
      stream.on('error', () => {}); // its session says it
      assert.ok([431, 'closed'].includes(await within(defaultLimit, Promise.race([refused, answered]), `${name}: no answer`)), name);
    }
    assert.deepEqual(await ask(other, 'up', 1), [1]);
  });

  it('a WebSocket beside HTTP/2: each connection has what it asked for', async () => {
    const socket = await webSocket();
    assert.equal(socket.alpnProtocol, 'http/1.1');
    assert.equal((await dial({ ALPNProtocols: ['h2', 'http/1.1'] })).alpnProtocol, 'h2');
    assert.equal((await dial()).alpnProtocol, false);
  });

  it('a browser polls over HTTP/2 and goes on by a WebSocket', async () => {
    script(world.room());
    const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
    world.closeAfter(() => browser.close());
    const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
    await page.goto(`${world.url}/healthz`);
    const seen = await page.evaluate(async () => {
      const { io } = await import('/socket.io/socket.io.esm.min.js');
      const socket = io();
      const engine = await new Promise((resolve) => socket.on('connect', () => resolve(socket.io.engine)));
      if (engine.transport.name !== 'websocket') await new Promise((resolve) => engine.once('upgrade', resolve));
      const answer = await socket.timeout(10_000).emitWithAck('up', 1);
      const polls = performance.getEntriesByType('resource').filter((e) => e.name.includes('transport=polling'));
      return { answer, transport: engine.transport.name, protocols: [...new Set(polls.map((e) => e.nextHopProtocol))] };
    });
    assert.deepEqual(seen, { answer: 1, transport: 'websocket', protocols: ['h2'] });
  });

  for (const version of ['TLSv1.2', 'TLSv1.3']) {
    it(`${version}: who comes back by a ticket makes no full handshake, under any name`, async () => {
      const options = { minVersion: version, maxVersion: version, servername: 'localhost' };
      const first = await dial(options);
      assert.equal(first.isSessionReused(), false);
      // TLS 1.3 sends tickets after the handshake.
      const session = version === 'TLSv1.3' ? (await within(defaultLimit, once(first, 'session'), 'no ticket'))[0] : first.getSession();
      const second = await dial({ ...options, session });
      assert.equal(second.isSessionReused(), true);
      await webSocket({ ...options, session: second.getSession() });
      const other = await dial({ ...options, servername: 'other.example.com', checkServerIdentity: () => undefined });
      assert.equal(other.authorized, true);
    });
  }

  it('a client of TLS 1.2 that renegotiates is closed, and alone', async () => {
    script(world.room());
    const other = await client();
    const socket = await webSocket({ maxVersion: 'TLSv1.2' });
    const refused = new Promise((resolve) => socket.once('error', resolve));
    socket.renegotiate({}, () => {});
    assert.match((await within(defaultLimit, refused, 'it lives on')).message, /unexpected message/);
    assert.deepEqual(await ask(other, 'up', 1), [1]);
  });

  it('garbage and half closes end their own connection', async () => {
    script(world.room());
    const other = await client();
    const { hostname, port } = new URL(world.url);
    const below = connectTCP(Number(port), hostname);
    const garbled = await webSocket({ socket: below });
    const alert = new Promise((resolve) => garbled.once('error', resolve));
    below.write('no record at all');
    const half = await webSocket();
    const ended = once(half, 'close');
    half.end(); // close_notify
    assert.match((await within(defaultLimit, alert, 'garbage is ignored')).message, /alert/);
    await within(defaultLimit, ended, 'half a connection lives on');
    assert.deepEqual(await ask(other, 'up', 1), [1]);
  });

  it('plain HTTP is told that this is TLS', async () => {
    // The server closes as soon as it has answered: the reset may overtake the answer.
    const ask = () => exchange(world.url, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n').catch(() => '');
    await eventually(async () => /^HTTP\/1\.0 400 /.test(await ask()), 'it is not told');
  });

  it('a renewed certificate is used without a restart, and connections stay', async () => {
    script(world.room());
    const stays = await client();
    const old = certificate.fingerprint;
    assert.equal((await dial()).getPeerX509Certificate().fingerprint256, old);
    const both = { rejectUnauthorized: false };
    certificate.renew();
    assert.notEqual(certificate.fingerprint, old);
    await eventually(
      async () => (await dial(both)).getPeerX509Certificate().fingerprint256 === certificate.fingerprint,
      'the old certificate is still used',
      25_000,
    );
    assert.deepEqual(await ask(stays, 'up', 1), [1]);
    assert.deepEqual(await ask(await client(), 'up', 2), [2]);
  });
});
