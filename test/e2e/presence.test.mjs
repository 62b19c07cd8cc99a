// Presence: who comes and goes, told to a room in its one fixed form.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { connectEvent } from './harness/backend.mjs';
import { combinations, connected, inboxOf } from './harness/clients.mjs';
import { RawWebSocket } from './harness/raw_websocket.mjs';
import { holdfastOnly } from './harness/target.mjs';
import { everythingToBackend, useWorld } from './harness/world.mjs';

describe('presence', { ...holdfastOnly('it has none') }, () => {
  const world = useWorld({ routes: everythingToBackend, presence: { enabled: true, coalesce: '20ms' } });

  function script(room) {
    world.backend.handle = (event) => {
      if (event.type !== connectEvent) return {};
      const { name } = { ...event.query, ...JSON.parse(event.auth) };
      return { joinRooms: [room], uid: name, profile: JSON.stringify({ name, avatar: `${name}.png`, team_id: 13 }) };
    };
  }

  /** The next presence event that passes; each must have the fixed form. */
  async function told(inbox, passes) {
    const [message] = await inbox.find(([m]) => {
      assert.equal(m.type, 'presence');
      assert.equal(m.data.from, 'ws');
      assert.ok(Array.isArray(m.data.clients));
      assert.equal(typeof m.data.userCount, 'number');
      return passes(m.data);
    });
    return message.data;
  }

  const names = (data) => data.clients.map((c) => c.name).sort();

  for (const { name, ...spec } of combinations) {
    it(`${name}: join, the snapshot for the one who joined, leave`, async () => {
      const room = world.room();
      script(room);
      const ada = world.make({ ...spec, auth: { name: 'ada' } });
      const adaGot = inboxOf(ada, 'message');
      await connected(ada);
      assert.equal((await told(adaGot, (d) => names(d).includes('ada'))).userCount, 1);

      const bob = world.make({ ...spec, auth: { name: 'bob' } });
      const bobGot = inboxOf(bob, 'message');
      await connected(bob);
      const joined = await told(adaGot, (d) => d.type === 'join' && names(d).includes('bob'));
      assert.deepEqual([names(joined), joined.userCount], [['bob'], 2]);
      assert.equal(joined.clients[0].avatar, 'bob.png');
      assert.equal(joined.clients[0].team_id, 13);
      const full = await told(bobGot, (d) => d.clients.length === 2);
      assert.deepEqual([names(full), full.userCount], [['ada', 'bob'], 2]);

      bob.close();
      const left = await told(adaGot, (d) => d.type === 'leave');
      assert.deepEqual([names(left), left.userCount], [['bob'], 1]);
    });
  }

  it('the packet begins as the reference system wrote it', async () => {
    const room = world.room();
    script(room);
    const raw = await RawWebSocket.connect(world.url, { auth: { name: 'ada' } });
    world.closeAfter(() => raw.close());
    assert.match(
      await raw.next(),
      /^42\["message",\{"type":"presence","data":\{"type":"[a-z]+","clients":\[\{"name":"ada","avatar":"ada\.png","team_id":13.*\}\],"userCount":1,"from":"ws"\}/,
    );
  });

  it('many who come at once are told together', async () => {
    const room = world.room();
    script(room);
    const ada = world.make({ auth: { name: 'ada' } });
    const got = inboxOf(ada, 'message');
    await connected(ada);
    const crowd = [...Array(20).keys()].map((i) => `n${i}`);
    await Promise.all(crowd.map((name) => world.connect({ auth: { name } })));
    const seen = new Set();
    let messages = 0;
    await told(got, (data) => {
      messages += 1;
      if (data.type === 'join') names(data).forEach((n) => seen.add(n));
      return crowd.every((n) => seen.has(n)) && data.userCount === 21;
    });
    assert.ok(messages <= 20, `${messages} messages for 20 people`);
  });
});

describe('presence switched off', () => {
  const world = useWorld();

  it('nothing is told', async () => {
    const room = world.room();
    const ada = world.make({ auth: { guid: room } });
    const got = inboxOf(ada, 'message');
    await connected(ada);
    await world.connect({ auth: { guid: room } });
    const marker = inboxOf(ada, 'marker');
    await world.api.push({ room }, 'marker');
    await marker.next();
    assert.deepEqual(got.waiting, []);
  });
});
