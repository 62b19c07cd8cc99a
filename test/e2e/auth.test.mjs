// Tokens, the rooms that they permit, and what a client cannot claim of itself.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { connectEvent } from './harness/backend.mjs';
import { holdfastBinary, plainEnvironment } from './harness/binary.mjs';
import { ask, combinations, refusal } from './harness/clients.mjs';
import { writeConfig } from './harness/config_file.mjs';
import { holdfastOnly } from './harness/target.mjs';
import { inSeconds, makeToken } from './harness/token.mjs';
import { everythingToBackend, useWorld } from './harness/world.mjs';

const secret = 'a secret of at least thirty-two bytes';

describe('tokens', { ...holdfastOnly('it checks none') }, () => {
  const auth = { anonymous: false, jwt: { secret } };
  const world = useWorld({ auth });
  const token = (claims = {}) => makeToken(secret, { sub: 'ada', exp: inSeconds(60), rooms: ['doc-*', 'lobby'], ...claims });

  for (const { name, ...spec } of combinations) {
    it(`${name}: a good token says who it is, and its rooms which it may join`, async () => {
      const client = await world.connect({ ...spec, auth: { token: token({ profile: { name: 'Ada' } }), guid: 'doc-7' } });
      const known = await world.api.getClient(client.id);
      assert.equal(known.uid, 'ada');
      assert.deepEqual(known.rooms, ['doc-7']);
      assert.deepEqual(JSON.parse(known.profile), { name: 'Ada' });
    });

    it(`${name}: a room that the token does not permit is refused`, async () => {
      const client = world.make({ ...spec, auth: { token: token(), guid: 'secret-1' } });
      assert.ok(await refusal(client));
      assert.equal((await world.api.countClients({ room: 'secret-1' })).clients, 0);
    });
  }

  for (const [guid, permitted] of Object.entries({ 'doc-': true, 'doc-1/2': true, lobby: true, 'lobby-2': false, 'my-doc-1': false, 'DOC-1': false })) {
    it(`rooms doc-* and lobby: ${guid} ${permitted ? 'is permitted' : 'is not'}`, async () => {
      const spec = { auth: { token: token(), guid } };
      if (permitted) assert.deepEqual((await world.api.getClient((await world.connect(spec)).id)).rooms, [guid]);
      else assert.ok(await refusal(world.make(spec)));
    });
  }

  const [, goodClaims, goodSignature] = token().split('.');
  const none = Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url');
  for (const [what, bad] of Object.entries({
    'no token': undefined,
    'an empty token': '',
    'no JWT': 'nonsense',
    'another secret': makeToken('another secret of thirty-two bytes', { sub: 'ada', exp: inSeconds(60) }),
    'an expired one': token({ exp: inSeconds(-60) }),
    'one that is not valid yet': token({ nbf: inSeconds(600) }),
    'alg none': `${none}.${goodClaims}.`,
    'alg none with a signature': `${none}.${goodClaims}.${goodSignature}`,
    'another algorithm': makeToken(secret, { sub: 'ada', exp: inSeconds(60) }, { alg: 'RS256' }),
    'a number': 7,
  })) {
    it(`refused: ${what}`, async () => {
      const reason = await refusal(world.make({ auth: bad === undefined ? {} : { token: bad } }));
      assert.notEqual(reason.message, '');
      assert.ok(!reason.message.includes(secret));
    });
  }

  it('a token may come as a Bearer header', async () => {
    const client = await world.connect({ options: { extraHeaders: { Authorization: `Bearer ${token()}` } } });
    assert.equal((await world.api.getClient(client.id)).uid, 'ada');
  });

  it('`holdfast token` makes tokens that are taken', async () => {
    const config = writeConfig({ auth });
    try {
      const made = execFileSync(holdfastBinary(), ['token', '--config', config.path, '--uid', 'bob', '--room', 'doc-*', '--ttl', '1h'], {
        env: plainEnvironment,
      });
      const client = await world.connect({ auth: { token: made.toString().trim(), guid: 'doc-9' } });
      const { uid, rooms } = await world.api.getClient(client.id);
      assert.deepEqual([uid, rooms], ['bob', ['doc-9']]);
    } finally {
      config.remove();
    }
  });
});

describe('anonymous clients beside tokens', { ...holdfastOnly('it checks none') }, () => {
  const world = useWorld({ auth: { anonymous: true, jwt: { secret } } });

  it('an anonymous one may join any room', async () => {
    const client = await world.connect({ auth: { guid: 'anything' } });
    assert.deepEqual((await world.api.getClient(client.id)).rooms, ['anything']);
  });

  it('a bad token is refused all the same', async () => {
    assert.ok(await refusal(world.make({ auth: { token: 'nonsense' } })));
  });
});

describe('headers', () => {
  const world = useWorld({ routes: everythingToBackend, auth: { anonymous: true } });
  const forged = {
    'X-ID': 'forged',
    'X-Uid': 'forged',
    'X-Guid': 'forged',
    'X-Inner': 'forged',
    'X-Event': 'forged',
    'X-Operator': 'forged',
    'X-Auth-Type': 'forged',
    'X-Client-Version': 'forged',
    'X-Server-Version': 'forged',
    'X-Push-Client-ID': 'forged',
    'X-Trace-ID': 'forged',
    traceparent: '00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01',
  };

  for (const { name, ...spec } of combinations.filter((c) => c.version > 2)) {
    it(`${name}: none of holdfast's own can be set by a client`, async () => {
      const client = await world.connect({ ...spec, options: { extraHeaders: forged } });
      await ask(client, 'hello', 1);
      const events = [
        await world.backend.next((e) => e.type === connectEvent && client.id === e.client.id),
        await world.backend.nextMessage('hello'),
      ];
      for (const event of events) {
        assert.doesNotMatch(JSON.stringify(event), /forged|aaaaaaaaaaaaaaaa/);
        assert.equal(event.client.uid ?? '', '');
      }
    });
  }

  it('each event has a trace ID of its own', async () => {
    const client = await world.connect({});
    client.emit('one');
    client.emit('two');
    const ids = [await world.backend.nextMessage('one'), await world.backend.nextMessage('two')].map((e) => e.headers['X-Trace-ID']);
    assert.ok(ids.every((id) => typeof id === 'string' && id !== ''));
    assert.notEqual(ids[0], ids[1]);
  });

  it('the backend is called as plain proto3 JSON', async () => {
    await world.connect({});
    const { headers } = world.backend.requests[0];
    assert.match(headers['content-type'], /^application\/json/);
  });
});
