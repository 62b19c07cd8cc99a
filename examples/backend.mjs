import { createServer } from 'node:http';

const handle = {
  EVENT_TYPE_CONNECT({ auth, query }) {
    const name = JSON.parse(auth).name ?? query?.name; // v2 clients: the query
    if (!name) return { reject: 'say who you are' };
    return { uid: name, profile: JSON.stringify({ name }), joinRooms: ['lobby'] };
  },
  EVENT_TYPE_MESSAGE({ client, event, payload }) {
    const others = { targets: [{ room: 'lobby' }], filter: { exceptClients: [client.id] }, event, payload };
    return { pushes: [others], ack: { json: '["passed on"]' } };
  },
  EVENT_TYPE_DISCONNECT({ client, reason }) { console.log(client.uid, 'left:', reason); },
};

createServer(async (request, response) => {
  let body = '';
  for await (const text of request.setEncoding('utf8')) body += text;
  const event = JSON.parse(body);
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(handle[event.type]?.(event) ?? {}));
}).listen(9000, '127.0.0.1');
