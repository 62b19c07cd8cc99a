// Kafka as the bus: stock clients on several gateways, and backends that know of
// nothing but the topics.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Api } from './harness/api.mjs';
import { connected, makeClient } from './harness/clients.mjs';
import { startCluster } from './harness/cluster.mjs';
import { kafkaAddress } from './harness/kafka.mjs';
import { startProcess } from './harness/process.mjs';
import { target, cluster as wholeSuite } from './harness/target.mjs';
import { eventOf, eventually, within } from './harness/wait.mjs';

const suite = dirname(fileURLToPath(import.meta.url));
const prefix = `e2e-topics-${process.pid}`;

// The suite's other runs, against one process or the reference server, have no bus.
if (target === 'holdfast' && !wholeSuite) {
  describe('Kafka as the bus', () => {
    let broker, cluster, examples;
    before(async () => {
      broker = await kafkaAddress();
      cluster = await startCluster(
        {
          bus: { kind: 'kafka', brokers: [broker], prefix, partitions: 4 },
          routes: [{ event: 'say', relay: 'others', ack: 'durable' }],
          recovery: { enabled: false },
          presence: { enabled: false },
        },
        { gateways: 2, apis: 2 },
      );
      // Where the suite's own libraries are found.
      mkdirSync(join(suite, '.build'), { recursive: true });
      examples = mkdtempSync(join(suite, '.build', 'kafka-node-'));
      cpSync(join(dirname(dirname(suite)), 'examples', 'kafka-node'), examples, {
        recursive: true,
        filter: (path) => !path.includes('node_modules'),
      });
    });
    after(async () => {
      rmSync(examples, { recursive: true, force: true });
      await cluster?.stop('SIGTERM');
    });

    const example = (file, ...args) => [`BROKERS=${broker}`, `PREFIX=${prefix}`, process.execPath, join(examples, file), ...args];

    async function enter(version, name, gateway) {
      const client = makeClient(gateway.url, { version, auth: { guid: 'doc-1', name } });
      await connected(client);
      return client;
    }

    it('carries events, acknowledgements, relays and pushes between processes', async () => {
      const [a, b] = cluster.gateways;
      const people = [await enter(2, 'ann', a), await enter(3, 'bob', b), await enter(4, 'cat', b)];
      for (const sender of people) {
        const heard = people.filter((p) => p !== sender).map((p) => eventOf(p, 'say'));
        const answered = within(15_000, new Promise((resolve) => sender.emit('say', 'hi', resolve)), 'no acknowledgement');
        assert.deepEqual(await Promise.all(heard), [['hi'], ['hi']]);
        await answered;
      }
      const heard = people.map((p) => eventOf(p, 'hello'));
      const { nodes } = await new Api(cluster.api).push({ room: 'doc-1' }, 'hello', [1]);
      assert.equal(nodes, 2);
      assert.deepEqual(await Promise.all(heard), [[1], [1], [1]]);
      people.forEach((p) => p.disconnect());
    });

    it('shows events to a consumer of the topic, and takes pushes from a producer', async () => {
      const consumer = await startProcess('env', example('events.mjs'), (output) => output.includes(`reading ${prefix}-up`));
      const ann = await enter(4, 'ann', cluster.gateways[0]);
      const bob = await enter(2, 'bob', cluster.gateways[1]);
      const id = ann.id;
      ann.emit('say', { text: 'hi' }, 2);
      ann.emit('say', Buffer.from('abc'), 'with an attachment');
      const lines = [`+ ${id}\n`, `${id} say [{"text":"hi"},2]\n`, `${id} say [{"_placeholder":true,"num":0},"with an attachment"]\n`];
      for (const line of lines) await eventually(() => consumer.output().includes(line), () => `${line} in\n${consumer.output()}`, 30_000);

      const heard = [ann, bob].map((p) => eventOf(p, 'hello'));
      await promisify(execFile)('env', example('push.mjs', 'doc-1', 'hello', '{"text":"Hello"}', '7'));
      assert.deepEqual(await Promise.all(heard), [
        [{ text: 'Hello' }, 7],
        [{ text: 'Hello' }, 7],
      ]);

      ann.disconnect();
      const gone = `- ${id} client namespace disconnect\n`;
      await eventually(() => consumer.output().includes(gone), () => `${gone} in\n${consumer.output()}`);
      bob.disconnect();
      assert.equal((await consumer.stop('SIGTERM')).code, 0, consumer.output());
    });

    it('passes over a record that is no push, and takes the JSON of a PushRequest', async () => {
      const { Kafka, Partitioners, logLevel } = (await import('kafkajs')).default;
      const client = new Kafka({ brokers: [broker], logLevel: logLevel.ERROR });
      const producer = client.producer({ createPartitioner: Partitioners.DefaultPartitioner });
      await producer.connect();
      const ann = await enter(3, 'ann', cluster.gateways[0]);
      const heard = eventOf(ann, 'hello');
      const request = { targets: [{ client: ann.id }], event: 'hello', payload: { json: '["json"]' } };
      await producer.send({
        topic: `${prefix}-push`,
        messages: [{ key: 'k', value: 'not a push' }, { key: 'k', value: '{"target":1}' }, { key: 'k', value: JSON.stringify(request) }],
      });
      assert.deepEqual(await heard, ['json']);
      await producer.disconnect();
      ann.disconnect();
    });

    it('loses no event when a ws-api is killed', async () => {
      const [a, b] = cluster.gateways;
      const ann = await enter(4, 'ann', a);
      const bob = await enter(4, 'bob', b);
      const heard = new Set();
      bob.on('say', (n) => heard.add(n));
      for (let n = 0; n < 300; n += 1) {
        ann.emit('say', n);
        if (n === 150) cluster.apis[0].stop('SIGKILL');
        if (n % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await eventually(() => heard.size === 300, () => `${heard.size} of 300 were relayed`, 30_000);
      await cluster.replace(cluster.apis[0]);
      ann.disconnect();
      bob.disconnect();
    });
  });
}
