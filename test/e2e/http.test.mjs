// CORS, the client bundle, health: what the listeners serve beside Engine.IO.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { PollingSession, exchange, parseAnswer, request } from './harness/raw_http.mjs';
import { holdfastOnly } from './harness/target.mjs';
import { connected, makeClient } from './harness/clients.mjs';
import { useWorld } from './harness/world.mjs';

const handshake = '/socket.io/?EIO=4&transport=polling';
const origin = 'http://app.example';
const corsHeaders = (headers) => Object.keys(headers).filter((name) => name.startsWith('access-control-'));

describe('CORS', () => {
  describe('by default', () => {
    const world = useWorld();

    it('no header says anything about other origins', async () => {
      for (const method of ['GET', 'OPTIONS']) {
        const { headers } = await request(world.url + handshake, {
          method,
          headers: { Origin: origin, 'Access-Control-Request-Method': 'POST' },
        });
        assert.deepEqual(corsHeaders(headers), [], method);
      }
      const session = await PollingSession.connect(world.url);
      world.closeAfter(() => session.close());
      const post = await request(session.address(), { method: 'POST', headers: { Origin: origin }, body: '42["x"]' });
      assert.deepEqual(corsHeaders(post.headers), []);
    });

    it('the Origin of a WebSocket is not checked', async () => {
      const client = await world.connect({ transport: 'websocket', options: { extraHeaders: { Origin: origin } } });
      assert.equal(client.connected, true);
    });
  });

  describe('with origins', () => {
    const world = useWorld({ cors: { origins: [origin, 'http://other.example'] } });

    it('a listed origin is echoed, with credentials', async () => {
      const { status, headers } = await request(world.url + handshake, { headers: { Origin: origin } });
      assert.equal(status, 200);
      assert.equal(headers['access-control-allow-origin'], origin);
      assert.equal(headers['access-control-allow-credentials'], 'true');
      assert.match(headers.vary, /origin/i);
    });

    it('another origin gets no permission', async () => {
      const { headers } = await request(world.url + handshake, { headers: { Origin: 'http://evil.example' } });
      assert.equal(headers['access-control-allow-origin'], undefined);
    });

    it('a preflight is answered by 204 and what is allowed', async () => {
      const { status, headers, body } = await request(world.url + handshake, {
        method: 'OPTIONS',
        headers: { Origin: origin, 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'content-type' },
      });
      assert.deepEqual([status, body], [204, '']);
      assert.equal(headers['access-control-allow-origin'], origin);
      assert.match(headers['access-control-allow-methods'], /POST/);
      assert.match(headers['access-control-allow-headers'], /content-type/i);
    });

    it('errors carry the headers too, else a page cannot read them', async () => {
      const { status, headers } = await request(`${world.url}${handshake}&sid=nobody`, { headers: { Origin: origin } });
      assert.equal(status, 400);
      assert.equal(headers['access-control-allow-origin'], origin);
    });
  });
});

const dist = join(dirname(createRequire(import.meta.url).resolve('socket.io-client-4/package.json')), 'dist');

describe('the client bundle', () => {
  describe('by default', () => {
    const world = useWorld();

    it('is not served', async () => {
      assert.notEqual((await request(`${world.url}/socket.io/socket.io.js`)).status, 200);
    });
  });

  describe('from client_bundle', () => {
    const world = useWorld({ client_bundle: dist });

    for (const file of ['socket.io.js', 'socket.io.min.js', 'socket.io.msgpack.min.js', 'socket.io.js.map']) {
      it(`serves ${file}`, async () => {
        const { status, headers, body } = await request(`${world.url}/socket.io/${file}`);
        assert.equal(status, 200);
        assert.match(headers['content-type'], file.endsWith('.map') ? /^application\/json/ : /^(application|text)\/javascript/);
        assert.ok(body === readFileSync(join(dist, file), 'utf8'));
      });
    }

    it('says nothing about other origins', async () => {
      const { headers } = await request(`${world.url}/socket.io/socket.io.esm.min.js`, { headers: { Origin: origin } });
      assert.deepEqual(corsHeaders(headers), []);
    });

    it('Engine.IO works beside it', async () => {
      assert.equal((await world.connect({ transport: 'polling' })).connected, true);
    });

    it('nothing outside the folder is served', async () => {
      for (const path of ['/socket.io/../package.json', '/socket.io//package.json', '/socket.io/%5c..%5cpackage.json', '/socket.io/..%2fpackage.json', '/socket.io/%2e%2e/package.json', '/socket.io/']) {
        const host = new URL(world.url).host;
        const { statusLine, body } = parseAnswer(await exchange(world.url, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`));
        assert.doesNotMatch(statusLine, /^HTTP\/1\.1 200/, path);
        assert.doesNotMatch(body, /"name"/, path);
      }
    });
  });
});

describe('the client bundle for other origins', () => {
  const world = useWorld({ client_bundle: dist, cors: { origins: [origin] } });

  it('may be imported as a module', async () => {
    const url = `${world.url}/socket.io/socket.io.esm.min.js`;
    const { status, headers } = await request(url, { headers: { Origin: origin } });
    assert.equal(status, 200);
    assert.equal(headers['access-control-allow-origin'], origin);
    const other = await request(url, { headers: { Origin: 'http://evil.example' } });
    assert.equal(other.headers['access-control-allow-origin'], undefined);
  });
});

describe('paths', () => {
  const world = useWorld();

  for (const transport of ['polling', 'websocket', 'upgrade']) {
    it(`a slash too many, as proxies make them, is no matter: ${transport}`, async () => {
      const client = await world.connect({ transport, options: { path: '/socket.io//' } });
      assert.equal(client.connected, true);
    });
  }
});

describe('health and metrics', { ...holdfastOnly('it has none') }, () => {
  const world = useWorld();

  it('both listeners answer /healthz and /readyz', async () => {
    for (const address of [world.url, world.gateway.api]) {
      for (const path of ['/healthz', '/readyz']) assert.equal((await request(address + path)).status, 200, address + path);
    }
  });

  it('/metrics is the API listener\'s, in the text format, and counts connections', async () => {
    const client = makeClient(world.url, {});
    world.closeAfter(() => client.close());
    await connected(client);
    const { status, body } = await request(`${world.gateway.api}/metrics`);
    assert.equal(status, 200);
    assert.match(body, /^# TYPE holdfast_\w+ gauge$/m);
    assert.notEqual((await request(`${world.url}/metrics`)).status, 200);
  });
});
