// Prints what clients do, as Kafka has it: node events.mjs
import { Kafka, logLevel } from 'kafkajs';

const { BROKERS = '127.0.0.1:9092', PREFIX = 'holdfast' } = process.env;
const kafka = new Kafka({ clientId: 'example', brokers: BROKERS.split(','), logLevel: logLevel.ERROR });

// A group of its own: it gets every event, whatever holdfast does with them.
const consumer = kafka.consumer({ groupId: 'example-events' });
await consumer.connect();
await consumer.subscribe({ topic: `${PREFIX}-up`, fromBeginning: true });
await consumer.run({
  eachMessage: async ({ message }) => {
    const header = (name) => message.headers[name]?.toString() ?? '';
    const who = header('X-Uid') || header('X-Client');
    switch (header('X-Event')) {
      case 'Connect':
        return console.log(`+ ${who}`);
      case 'Disconnect':
        return console.log(`- ${who} ${header('X-Reason')}`);
      default:
        console.log(`${who} ${header('X-Name')} ${argumentsOf(message.value, header('X-Body-Parts'))}`);
    }
  },
});
console.log(`reading ${PREFIX}-up`);

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => consumer.disconnect());

// Without attachments all of the value is the JSON text of the arguments.
function argumentsOf(value, parts) {
  const [, length] = /^j(\d+)/.exec(parts) ?? [];
  return value.subarray(0, length ?? value.length).toString();
}
