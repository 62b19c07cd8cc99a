// The way from polling to WebSocket: by hand, step for step, and with stock
// clients under traffic, where nothing may be lost or change places.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { argsOf, connectEvent, messageEvent } from './harness/backend.mjs';
import { inboxOf, connected, versions } from './harness/clients.mjs';
import { PollingSession, request } from './harness/raw_http.mjs';
import { RawWebSocket } from './harness/raw_websocket.mjs';
import { holdfastOnly } from './harness/target.mjs';
import { eventOf } from './harness/wait.mjs';
import { everythingToBackend, useWorld } from './harness/world.mjs';

describe('upgrade', () => {
  const world = useWorld({ routes: everythingToBackend, timeouts: { upgrade: '1s' } });

  function script(room) {
    world.backend.handle = (event) => (event.type === connectEvent ? { joinRooms: [room] } : { ack: event.payload });
  }

  async function probed(eio) {
    const polling = await PollingSession.connect(world.url, { eio });
    const ws = await RawWebSocket.open(world.url, { eio, sid: polling.sid });
    world.closeAfter(() => (ws.close(), polling.agent.destroy()));
    ws.send('2probe');
    assert.equal(await ws.packets.next(), '3probe');
    return { polling, ws };
  }

  for (const eio of [3, 4]) {
    const noop = eio === 3 ? '1:6' : '6';

    it(`EIO${eio}: probe, noop, upgrade, and what was queued follows`, async () => {
      const room = world.room();
      script(room);
      const { polling, ws } = await probed(eio);
      const start = performance.now();
      const { body } = await polling.get();
      assert.equal(body, noop);
      assert.ok(performance.now() - start < 5000, 'the poll waited for data');
      await world.api.push({ room }, 'n', [1]);
      ws.send('5');
      assert.equal(await ws.next(), '42["n",1]');
      await world.api.push({ room }, 'n', [2]);
      assert.equal(await ws.next(), '42["n",2]');
      ws.send('421["up"]');
      assert.equal(await ws.next(), '431[]');
      // A poll that comes too late is refused; the session goes on.
      const late = await polling.get();
      assert.deepEqual([late.status, late.body], [400, '{"code":3,"message":"Bad request"}']);
      ws.send('422["still there"]');
      assert.equal(await ws.next(), '432[]');
    });

    it(`EIO${eio}: a message between the probe and the upgrade still comes, by polling or after it`, async () => {
      const room = world.room();
      script(room);
      const { polling, ws } = await probed(eio);
      await world.api.push({ room }, 'n', [1]);
      const { body } = await polling.get();
      const byPolling = body.includes('42["n",1]');
      if (!byPolling) assert.equal(body, noop);
      ws.send('5');
      await world.api.push({ room }, 'n', [2]);
      const packets = byPolling ? [await ws.next()] : [await ws.next(), await ws.next()];
      assert.deepEqual(packets, byPolling ? ['42["n",2]'] : ['42["n",1]', '42["n",2]']);
    });

    it(`EIO${eio}: a probe that is never followed leaves polling as it was`, async () => {
      const room = world.room();
      script(room);
      const { polling, ws } = await probed(eio);
      await ws.closedWithin(); // the upgrade timeout of this suite is 1 s
      await world.api.push({ room }, 'n', [1]);
      assert.equal(await polling.next(), '42["n",1]');
      await polling.post('421["up"]');
      assert.equal(await polling.next(), '431[]');
      await polling.close();
    });

    it(`EIO${eio}: a wrong first packet closes only the WebSocket`, async () => {
      const room = world.room();
      script(room);
      const polling = await PollingSession.connect(world.url, { eio });
      const ws = await RawWebSocket.open(world.url, { eio, sid: polling.sid });
      world.closeAfter(() => (ws.close(), polling.agent.destroy()));
      ws.send('42["too early"]');
      await ws.closedWithin();
      await world.api.push({ room }, 'n', [1]);
      assert.equal(await polling.next(), '42["n",1]');
      await polling.close();
    });

    it(`EIO${eio}: a second WebSocket on an upgraded session is closed, the session goes on`, async () => {
      script(world.room());
      const { ws, polling } = await probed(eio);
      ws.send('5');
      const second = await RawWebSocket.open(world.url, { eio, sid: polling.sid });
      world.closeAfter(() => second.close());
      await second.closedWithin();
      ws.send('421["still there"]');
      assert.equal(await ws.next(), '431[]');
    });

    it(`EIO${eio}: a POST that overlaps the probe is not lost`, async () => {
      const { polling, ws } = await probed(eio);
      world.backend.handle = (event) => (event.type === messageEvent ? { ack: event.payload } : {});
      await polling.post('421["by polling"]');
      ws.send('5');
      ws.send('422["by websocket"]');
      // The first answer takes polling if a GET is there for it; there is none.
      assert.deepEqual([await ws.next(), await ws.next()], ['431[]', '432[]']);
    });
  }

  for (const version of versions) {
    it(`v${version}: pushes during the upgrade come once and in order`, async () => {
      const room = world.room();
      script(room);
      let stop = false;
      const pushing = (async () => {
        let n = 0;
        for (; !stop; n += 1) await world.api.push({ room }, 'n', [n]);
        return n;
      })();
      const clients = [];
      for (let i = 0; i < 12; i += 1) {
        const client = world.make({ version, transport: 'upgrade' });
        clients.push({ client, got: inboxOf(client, 'n') });
      }
      await Promise.all(clients.map(({ client }) => connected(client)));
      stop = true;
      const count = await pushing;
      await world.api.push({ room }, 'n', ['end']);
      for (const { got } of clients) {
        const [first] = await got.next();
        if (first === 'end') continue; // it came in after the last of them
        const rest = (await got.take(count - first)).flat();
        assert.deepEqual([first, ...rest], [...[...Array(count).keys()].slice(first), 'end']);
      }
    });

    it(`v${version}: events emitted during the upgrade reach the backend once and in order`, async () => {
      const seen = new Map();
      world.backend.handle = (event) => {
        if (event.type !== messageEvent) return {};
        const list = seen.get(event.client.id) ?? [];
        seen.set(event.client.id, [...list, argsOf(event.payload)[0]]);
        return { ack: { json: '[]' } };
      };
      const runs = [...Array(8).keys()].map(async () => {
        const client = world.make({ version, transport: 'upgrade' });
        let n = 0;
        let upgraded = false;
        await new Promise((resolve) => client.once('connect', resolve));
        const done = connected(client).then(() => (upgraded = true));
        for (; !upgraded; n += 1) {
          client.emit('n', n);
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
        await done;
        await new Promise((resolve) => client.emit('n', 'end', resolve));
        return n;
      });
      const counts = await Promise.all(runs);
      assert.equal(seen.size, counts.length);
      assert.deepEqual([...seen.values()].map((list) => list.length - 1).sort(), counts.sort());
      for (const list of seen.values()) assert.deepEqual(list, [...Array(list.length - 1).keys(), 'end']);
    });
  }

  it('an unknown sid cannot upgrade', async () => {
    await assert.rejects(RawWebSocket.open(world.url, { sid: 'nobody' }), /refused/);
    assert.equal((await request(`${world.url}/socket.io/?EIO=4&transport=polling&sid=nobody`)).status, 400);
  });
});

describe('an endpoint without WebSocket', { ...holdfastOnly('it has the transports of all its endpoints alike') }, () => {
  const world = useWorld({ endpoints: [{ path: '/socket.io/', transports: ['polling'] }] });

  for (const version of [2, 3, 4]) {
    it(`v${version}: a client is not sent to one`, async () => {
      const client = world.make({ version, transport: 'polling', options: { transports: ['polling', 'websocket'] } });
      const [{ upgrades }] = await eventOf(client.io.engine, 'handshake');
      assert.deepEqual(upgrades, []);
      await connected(client);
      assert.equal(client.io.engine.transport.name, 'polling');
    });
  }
});
