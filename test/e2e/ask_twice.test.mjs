// A PushAndWait whose ws-api is killed, or told to end, while clients think about their
// answer, and which is made again at another one: clients are asked once.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Api } from './harness/api.mjs';
import { payloadOf } from './harness/backend.mjs';
import { connected, makeClient } from './harness/clients.mjs';
import { startCluster } from './harness/cluster.mjs';
import { holdfastOnly } from './harness/target.mjs';
import { eventually } from './harness/wait.mjs';

const room = 'asked';
const ackTimeout = 3; // s

/** A cluster with somebody who notes what they are asked, and answers when told to. */
async function somebody(t) {
  const cluster = await startCluster({}, { gateways: 1, apis: 2 });
  const client = makeClient(cluster.url, { auth: { guid: room } });
  t.after(async () => {
    client.close();
    await cluster.stop();
  });
  const asked = [];
  client.on('q', (n, answer) => asked.push(answer));
  await connected(client);
  const ask = (api, dedupId) =>
    new Api(api.url).raw('PushService', 'PushAndWait', {
      targets: [{ room }], event: 'q', payload: payloadOf([1]), ackTimeout: `${ackTimeout}s`, dedupId,
    });
  return { apis: cluster.apis, asked, ask };
}

describe('a PushAndWait that is repeated at another ws-api', { ...holdfastOnly('it is one process') }, () => {
  it('after the first was killed: nobody knows the answer, and nobody is asked again', async (t) => {
    const { apis, asked, ask } = await somebody(t);
    const first = ask(apis[0], 'x').catch(() => 'broken off');
    await eventually(() => asked.length === 1, 'nobody is asked');
    await apis[0].stop('SIGKILL');
    assert.equal(await first, 'broken off');
    asked[0]('too late');
    const began = performance.now();
    const { status, body } = await ask(apis[1], 'x');
    assert.equal(status, 409, JSON.stringify(body));
    assert.equal(body.code, 'aborted');
    assert.ok(performance.now() - began < 1000 * (ackTimeout + 6), `it took ${performance.now() - began} ms`);
    assert.equal(asked.length, 1);

    const under = ask(apis[1], 'y'); // another one
    await eventually(() => asked.length === 2, 'nobody is asked');
    asked[1]('yes');
    assert.equal((await under).body.acks[0].payload.json, '["yes"]');
  });

  it('after the first was told to end: it waits for the answer, and the other one tells it', async (t) => {
    const { apis, asked, ask } = await somebody(t);
    const first = ask(apis[0], 'x').catch(() => 'broken off');
    await eventually(() => asked.length === 1, 'nobody is asked');
    const ended = apis[0].stop('SIGTERM');
    assert.equal(await first, 'broken off');
    const second = ask(apis[1], 'x');
    asked[0]('yes');
    const { status, body } = await second;
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.acks[0].payload.json, '["yes"]');
    assert.deepEqual(await ended, { code: 0, signal: null });
    assert.equal(asked.length, 1);
  });
});
