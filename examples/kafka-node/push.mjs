// Sends an event to a room by way of Kafka: node push.mjs doc-1 hello '{"text":"Hello"}'
import { Kafka, Partitioners, logLevel } from 'kafkajs';

const { BROKERS = '127.0.0.1:9092', PREFIX = 'holdfast' } = process.env;
const [room, event, ...args] = process.argv.slice(2);
if (!event) {
  console.error('usage: node push.mjs ROOM EVENT [JSON…]');
  process.exit(2);
}

const kafka = new Kafka({ clientId: 'example', brokers: BROKERS.split(','), logLevel: logLevel.ERROR });
const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
await producer.connect();
await producer.send({
  topic: `${PREFIX}-push`,
  messages: [
    {
      key: room, // pushes with one key arrive in their order
      headers: { 'X-Targets': encodeURIComponent(`r:/,${room}`), 'X-Name': event },
      value: `[${args.join(',')}]`,
    },
  ],
});
await producer.disconnect();
