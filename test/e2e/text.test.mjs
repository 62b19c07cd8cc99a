// Text beyond ASCII and large messages, both ways.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { argsOf, connectEvent } from './harness/backend.mjs';
import { ask, combinations, inboxOf } from './harness/clients.mjs';
import { PollingSession } from './harness/raw_http.mjs';
import { everythingToBackend, useWorld } from './harness/world.mjs';

const texts = {
  'two-byte text': 'größer, ßäöü, Ελλάδα',
  'three-byte text': '石墨文档 – ᚠᛇᚻ ﷽',
  'four-byte text': '😀👩‍👩‍👧‍👦 𝒳 𠜎',
  'a lone surrogate': 'a\ud800b',
  'a lone low surrogate': 'a\udc00b',
  'separators and controls': 'a\u2028b\u2029c\u001ed\u0000e\u007f',
  'what HTML escapes': '<script>&amp;"\'</script>',
  'nothing': '',
};
const everyText = Object.values(texts).join('|');

describe('text', () => {
  const world = useWorld({ routes: everythingToBackend });

  function echo(room) {
    world.backend.handle = (event) => (event.type === connectEvent ? { joinRooms: [room] } : { ack: event.payload });
  }

  for (const { name, ...spec } of combinations) {
    it(`${name}: every kind of text goes both ways`, async () => {
      const room = world.room();
      echo(room);
      const client = await world.connect(spec);
      const got = inboxOf(client, 'text');
      for (const [what, text] of [...Object.entries(texts), ['all of them', everyText]]) {
        await world.api.push({ room }, 'text', [text]);
        assert.deepEqual(await got.next(), [text], `down: ${what}`);
        assert.deepEqual(await ask(client, 'text', text, { [text]: text }), [text, { [text]: text }], `up and back: ${what}`);
        assert.deepEqual(argsOf((await world.backend.nextMessage('text')).payload), [text, { [text]: text }], `up: ${what}`);
      }
    });

    it(`${name}: event and room names beyond ASCII`, async () => {
      const room = `文档-${world.room()}-😀 ,"?`;
      echo(room);
      const client = await world.connect(spec);
      const got = inboxOf(client, 'Größe "😀"');
      await world.api.push({ room }, 'Größe "😀"', [1]);
      assert.deepEqual(await got.next(), [1]);
      assert.deepEqual(await ask(client, 'Größe "😀"', 2), [2]);
    });

    it(`${name}: 200 KB in one message, both ways`, async () => {
      const room = world.room();
      echo(room);
      const client = await world.connect(spec);
      const got = inboxOf(client, 'large');
      const text = '0123456789äß石😀'.repeat(200_000 / 20);
      assert.ok(Buffer.byteLength(text) >= 200_000);
      await world.api.push({ room }, 'large', [text]);
      const [down] = await got.next();
      assert.ok(down === text, `${down.length} of ${text.length}`);
      const [back] = await ask(client, 'large', text);
      assert.ok(back === text, `${back.length} of ${text.length}`);
    });
  }

  it('many packets between two polls come in one body, lengths in UTF-16 units for EIO3', async () => {
    const room = world.room();
    echo(room);
    for (const eio of [3, 4]) {
      const session = await PollingSession.connect(world.url, { eio });
      world.closeAfter(() => session.close());
      for (const text of Object.values(texts)) await world.api.push({ client: session.id }, 'text', [text]);
      for (const text of Object.values(texts)) {
        assert.deepEqual(JSON.parse(String(await session.next()).slice(2)), ['text', text]);
      }
    }
  });

  it('several packets of 2, 3 and 4 byte text in one POST', async () => {
    const room = world.room();
    echo(room);
    for (const eio of [3, 4]) {
      const session = await PollingSession.connect(world.url, { eio });
      world.closeAfter(() => session.close());
      const wellFormed = Object.values(texts).filter((text) => !/[\ud800\udc00](?![\udc00-\udfff])/.test(text) || text.includes('😀'));
      const { status, body } = await session.post(...wellFormed.map((text, i) => `42${i}${JSON.stringify(['text', text]).replaceAll('\x1e', '\\u001e')}`));
      assert.deepEqual([status, body], [200, 'ok']);
      for (const [i, text] of wellFormed.entries()) {
        const answer = String(await session.next());
        assert.ok(answer.startsWith(`43${i}[`), answer);
        assert.deepEqual(JSON.parse(answer.slice(2 + String(i).length)), [text]);
      }
    }
  });
});
