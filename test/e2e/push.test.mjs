// From a backend's HTTP call to the clients: targets, filters, order, speed.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { connectEvent, payloadOf } from './harness/backend.mjs';
import { combinations, everythingOf, inboxOf } from './harness/clients.mjs';
import { PollingSession } from './harness/raw_http.mjs';
import { holdfastOnly } from './harness/target.mjs';
import { everythingToBackend, useWorld } from './harness/world.mjs';

/** Lets a connecting client be user `auth.uid` in room `auth.guid`. */
function asItSays(event) {
  if (event.type !== connectEvent) return {};
  const said = { ...event.query, ...JSON.parse(event.auth) };
  return { uid: said.uid ?? '', joinRooms: said.guid ? [said.guid] : [] };
}

describe('push', () => {
  const world = useWorld({ routes: everythingToBackend });

  async function join(spec, auth) {
    world.backend.handle = asItSays;
    return world.connect({ ...spec, auth });
  }

  for (const { name, ...spec } of combinations) {
    it(`${name}: to a room, a user, a client and all`, async () => {
      const room = world.room();
      const member = await join(spec, { guid: room, uid: `u-${room}` });
      const other = await join(spec, { guid: `${room}-other`, uid: 'somebody else' });
      const [memberGot, otherGot] = [everythingOf(member), everythingOf(other)];
      await world.api.push({ room }, 'to', ['room']);
      await world.api.push({ user: `u-${room}` }, 'to', ['user']);
      await world.api.push({ client: member.id }, 'to', ['client']);
      await world.api.push({ all: true }, 'to', ['all']);
      const memberEvents = await memberGot.take(4);
      assert.deepEqual(memberEvents.map(([, to]) => to).sort(), ['all', 'client', 'room', 'user']);
      assert.deepEqual(await otherGot.next(), ['to', 'all']);
      assert.deepEqual(otherGot.waiting, []);
    });

    it(`${name}: arrives within 50 ms (median)`, async () => {
      const room = world.room();
      const got = inboxOf(await join(spec, { guid: room }), 'tick');
      const times = [];
      for (let i = 0; i < 25; i += 1) {
        const start = performance.now();
        const [, [n]] = await Promise.all([world.api.push({ room }, 'tick', [i]), got.next()]);
        times.push(performance.now() - start);
        assert.equal(n, i);
      }
      // The first ones warm connections and code up.
      const median = times.slice(5).sort((a, b) => a - b)[10];
      assert.ok(median < 50, `median ${median.toFixed(1)} ms of ${times.map((t) => t.toFixed(1)).join(' ')}`);
    });

    it(`${name}: to several targets comes once`, async () => {
      const room = world.room();
      const client = await join(spec, { guid: room, uid: `u-${room}` });
      const all = everythingOf(client);
      await world.api.push([{ room }, { user: `u-${room}` }, { client: client.id }, { room: 'nobody here' }], 'once', [1]);
      await world.api.push({ room }, 'marker');
      assert.deepEqual(await all.take(2), [['once', 1], ['marker']]);
      assert.deepEqual(all.waiting, []);
    });

    it(`${name}: passes over except_clients`, async () => {
      const room = world.room();
      const [out, inside] = [await join(spec, { guid: room }), await join(spec, { guid: room })];
      const [outGot, insideGot] = [everythingOf(out), everythingOf(inside)];
      await world.api.push({ room }, 'others', [1], { filter: { exceptClients: [out.id] } });
      await world.api.push({ room }, 'marker');
      assert.deepEqual(await insideGot.take(2), [['others', 1], ['marker']]);
      assert.deepEqual(await outGot.next(), ['marker']);
    });

    it(`${name}: PushAndWait brings back every client's acknowledgement`, async () => {
      const room = world.room();
      const clients = [await join(spec, { guid: room }), await join(spec, { guid: room })];
      clients.forEach((client, i) => client.on('ask', (question, answer) => answer(`${question}-${i}`, { n: i })));
      const { acks, missing = 0, failedNodes = 0 } = await world.api.pushAndWait({ room }, 'ask', ['q']);
      assert.deepEqual({ missing, failedNodes }, { missing: 0, failedNodes: 0 });
      const answers = acks.map((ack) => JSON.parse(ack.payload.json)).sort();
      assert.deepEqual(answers, [['q-0', { n: 0 }], ['q-1', { n: 1 }]]);
      const ids = acks.map((ack) => ack.client).sort();
      assert.equal(new Set(ids).size, 2);
      for (const id of ids) assert.ok(clients.some((client) => client.id.startsWith(id)), id);
    });
  }

  it('PushAndWait counts those who did not answer', async () => {
    const room = world.room();
    const silent = await join({}, { guid: room });
    silent.on('ask', () => {});
    const polite = await join({}, { guid: room });
    polite.on('ask', (answer) => answer());
    const { acks, missing } = await world.api.pushAndWait({ room }, 'ask', [], '0.5s');
    assert.equal(missing, 1);
    assert.deepEqual(acks.map((ack) => ack.payload.json), ['[]']);
  });

  it('PushAndWait to nobody answers at once', async () => {
    const start = performance.now();
    const { acks, missing } = await world.api.pushAndWait({ room: 'nobody here' }, 'ask', [], '10s');
    assert.deepEqual([acks ?? [], missing ?? 0], [[], 0]);
    assert.ok(performance.now() - start < 5000);
  });

  it('1,000 numbered pushes reach every kind of client once and in order', async () => {
    const room = world.room();
    const inboxes = [];
    for (const spec of combinations) inboxes.push(inboxOf(await join(spec, { guid: room }), 'n'));
    for (let i = 0; i < 1000; i += 1) await world.api.push({ room }, 'n', [i]);
    await world.api.push({ room }, 'n', ['end']);
    const expected = [...Array(1000).keys(), 'end'];
    for (const inbox of inboxes) assert.deepEqual((await inbox.take(1001, 60_000)).flat(), expected);
  });

  it('volatile: dropped for a client that is not writable, never kept', async () => {
    const room = world.room();
    world.backend.handle = () => ({ joinRooms: [room] });
    const away = await PollingSession.connect(world.url); // has no GET waiting now
    world.closeAfter(() => away.close());
    const there = inboxOf(await join({ transport: 'websocket' }, { guid: room }), 'blink');
    await world.api.push({ room }, 'blink', [1], { volatile: true });
    assert.deepEqual(await there.next(), [1]);
    await world.api.push({ room }, 'kept', [2]);
    assert.equal(await away.next(), '42["kept",2]');
  });

  it('collapse_key: a newer message replaces an unsent one', { ...holdfastOnly('it has no such thing') }, async () => {
    const room = world.room();
    world.backend.handle = () => ({ joinRooms: [room] });
    const away = await PollingSession.connect(world.url);
    world.closeAfter(() => away.close());
    for (let i = 1; i <= 3; i += 1) {
      await world.api.push({ room }, 'cursor', ['a', i], { collapseKey: 'a' });
      await world.api.push({ room }, 'cursor', ['b', i], { collapseKey: 'b' });
    }
    await world.api.push({ room }, 'end');
    const packets = [await away.next(), await away.next(), await away.next()];
    assert.deepEqual(packets.sort(), ['42["cursor","a",3]', '42["cursor","b",3]', '42["end"]']);
  });

  it('dedup_id: the same ID is routed once', holdfastOnly('it has no such thing'), async () => {
    const room = world.room();
    const all = everythingOf(await join({}, { guid: room }));
    const first = await world.api.push({ room }, 'once', [1], { dedupId: `d-${room}` });
    const second = await world.api.push({ room }, 'once', [1], { dedupId: `d-${room}` });
    assert.equal(second.messageId, first.messageId);
    await world.api.push({ room }, 'marker');
    assert.deepEqual(await all.take(2), [['once', 1], ['marker']]);
  });

  it('answers with a message ID, and counts no node for a room without members', { ...holdfastOnly('it does not count') }, async () => {
    const room = world.room();
    const { messageId, nodes } = await world.api.push({ room }, 'hello');
    assert.match(messageId, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/);
    assert.equal(nodes ?? 0, 0);
    await join({}, { guid: room });
    assert.equal((await world.api.push({ room }, 'hello')).nodes, 1);
  });

  it('keeps the text of the payload as it was written', { ...holdfastOnly('it parses JSON and writes it anew') }, async () => {
    const room = world.room();
    world.backend.handle = () => ({ joinRooms: [room] });
    const raw = await PollingSession.connect(world.url);
    world.closeAfter(() => raw.close());
    const json = '[{"z":1.0,"a":"<&>\\u2028","big":12345678901234567890}, "\\ud800"]';
    await world.api.push({ room }, 'x', [], { payload: { json } });
    assert.equal(await raw.next(), `42["x",${json.slice(1)}`);
  });

  describe('refuses with a clear error', { ...holdfastOnly('these checks are ws-api\'s') }, () => {
    const targets = [{ room: 'doc' }];
    const payload = { json: '[1]' };
    const eleven = payloadOf(Array(11).fill(Buffer.from('x')));
    const requests = {
      'no target': { event: 'x', payload },
      'an empty target': { targets: [{}], event: 'x', payload },
      'an event name that clients reserve': { targets, event: 'disconnect', payload },
      'a payload that is no array': { targets, event: 'x', payload: { json: '{"a":1}' } },
      'a payload that is no JSON': { targets, event: 'x', payload: { json: '[1' } },
      'a placeholder without its attachment': { targets, event: 'x', payload: { json: '[{"_placeholder":true,"num":0}]' } },
      'more than 10 attachments': { targets, event: 'x', payload: eleven },
      'an attachment without its placeholder': { targets, event: 'x', payload: { json: '[1]', attachments: ['AQ=='] } },
      'an attachment and no json': { targets, event: 'x', payload: { attachments: ['AQ=='] } },
      'a namespace that is none': { targets: [{ room: 'doc', namespace: 'chat' }], event: 'x', payload },
      'a room without a name': { targets: [{ room: '' }], event: 'x', payload },
      'an unknown field': '{"targets":[{"room":"doc"}],"evnt":"x"}',
      'a body that is no JSON': '{',
    };
    for (const [what, body] of Object.entries(requests)) {
      it(what, async () => {
        const answer = await world.api.raw('PushService', 'Push', body);
        assert.equal(answer.status, 400, JSON.stringify(answer.body));
        assert.equal(answer.body.code, 'invalid_argument');
        assert.notEqual(answer.body.message ?? '', '');
      });
    }
  });

  it('plain JSON works the way curl -d sends it', async () => {
    const room = world.room();
    const got = inboxOf(await join({}, { guid: room }), 'hello');
    const response = await fetch(`${world.gateway.api}/holdfast.v1.PushService/Push`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      body: JSON.stringify({ targets: [{ room }], event: 'hello', payload: { json: '[1]' } }),
    });
    assert.equal(response.status, 200);
    assert.match(response.headers.get('content-type'), /^application\/json/);
    assert.deepEqual(await got.next(), [1]);
  });
});

describe('filters by what a client is', { ...holdfastOnly('it keeps no such facts of a client') }, () => {
  const world = useWorld();
  const facts = {
    old: { locale: 'de', auth_type: 'mobile', client_version: '2.9.1' },
    current: { locale: 'fr', auth_type: 'site', client_version: '2.10.0' },
    unknown: {},
  };
  const cases = [
    ['auth types', { authTypes: ['site', 'sdk'] }, ['current']],
    ['locales', { locales: ['de'] }, ['old']],
    ['a least version, compared as a version', { minClientVersion: '2.10.0' }, ['current']],
    ['several at once', { locales: ['de', 'fr'], authTypes: ['mobile'], minClientVersion: '2.0.0' }, ['old']],
  ];

  for (const version of [2, 4]) {
    for (const [what, filter, expected] of cases) {
      it(`v${version}: ${what}`, async () => {
        const room = world.room();
        const inboxes = {};
        for (const [name, fact] of Object.entries(facts)) {
          inboxes[name] = everythingOf(await world.connect({ version, auth: { guid: room, ...fact } }));
        }
        await world.api.push({ room }, 'filtered', [], { filter });
        await world.api.push({ room }, 'marker');
        for (const [name, inbox] of Object.entries(inboxes)) {
          const events = expected.includes(name) ? [['filtered'], ['marker']] : [['marker']];
          assert.deepEqual(await inbox.take(events.length), events, name);
        }
      });
    }
  }
});
