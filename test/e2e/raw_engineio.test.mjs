// The raw Engine.IO endpoint, with Engine.IO's own clients.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { argsOf, attachmentsOf, connectEvent, disconnectEvent, messageEvent } from './harness/backend.mjs';
import { engineClients } from './harness/clients.mjs';
import { Inbox, eventOf } from './harness/wait.mjs';
import { everythingToBackend, useWorld } from './harness/world.mjs';

const endpoints = [
  { path: '/socket.io/', protocol: 'socket.io' },
  { path: '/engine.io/', protocol: 'engine.io' },
];

describe('raw Engine.IO', () => {
  const world = useWorld({ endpoints, routes: everythingToBackend });

  for (const eio of [3, 4]) {
    for (const transports of [['polling'], ['websocket'], ['polling', 'websocket']]) {
      it(`EIO${eio} ${transports.join(' to ')}: text and bytes both ways`, async () => {
        const client = new engineClients[eio](world.url.replace('http', 'ws'), { path: '/engine.io/', transports });
        world.closeAfter(() => client.close());
        client.binaryType = 'nodebuffer';
        const messages = new Inbox('no message');
        client.on('message', (data) => messages.put(data));
        if (transports.length > 1) await eventOf(client, 'upgrade');
        else await eventOf(client, 'open');

        const opened = await world.backend.next((e) => e.type === connectEvent);
        assert.equal(opened.client.protocol, `engine.io/${eio}`);
        const target = { client: opened.client.id };

        client.send('größe 😀');
        const text = await world.backend.next((e) => e.type === messageEvent);
        assert.equal(text.event ?? '', '');
        assert.deepEqual(argsOf(text.payload), ['größe 😀']);
        assert.equal(text.client.id, target.client);

        client.send(Buffer.from([0, 1, 255]));
        const { payload } = await world.backend.next((e) => e.type === messageEvent);
        assert.deepEqual(argsOf(payload), [{ _placeholder: true, num: 0 }]);
        assert.deepEqual(attachmentsOf(payload), [Buffer.from([0, 1, 255])]);

        await world.api.push(target, 'named', ['is for Socket.IO only']);
        await world.api.push(target, '', ['hello 😀']);
        await world.api.push(target, '', [Buffer.from([7, 8])]);
        assert.equal(await messages.next(), 'hello 😀');
        assert.deepEqual(Buffer.from(await messages.next()), Buffer.from([7, 8]));
        assert.deepEqual(messages.waiting, []);

        // What it calls its id itself names it too.
        assert.equal((await world.api.getClient(client.id)).id, target.client);
        await world.api.push({ client: client.id }, '', ['by its own id']);
        assert.equal(await messages.next(), 'by its own id');

        client.close();
        const closed = await world.backend.next((e) => e.type === disconnectEvent);
        assert.equal(closed.client.id, target.client);
      });
    }
  }
});
