// A chat: messages to groups and to one person, and history. holdfast posts events to
// HandleEvent; messages go out by PushService/Push. No library is needed for either.
import { createServer } from 'node:http';

const api = process.env.HOLDFAST_API ?? 'http://127.0.0.1:8001';
const port = Number(process.env.PORT ?? 9000);
const kept = 100; // messages of one conversation

// --- History, in memory -----------------------------------------------------------

const conversations = new Map(); // "#lobby", or the two names → messages, oldest first

const conversationOf = ({ from, to }) => (to.startsWith('#') ? to : [from, to].sort().join(' and '));

function store(message) {
  const key = conversationOf(message);
  conversations.set(key, [...(conversations.get(key) ?? []), message].slice(-kept));
}

/** What somebody may read: their groups, and what they wrote or were written. */
function historyFor(name, groups) {
  const mine = ({ from, to }) => (to.startsWith('#') ? groups.includes(to.slice(1)) : from === name || to === name);
  return [...conversations.values()].flat().filter(mine).sort((a, b) => a.at - b.at).slice(-kept);
}

// --- holdfast ---------------------------------------------------------------------

/** Sends one event; `more` holds further fields of PushRequest. */
async function push(targets, event, args, more) {
  const response = await fetch(`${api}/holdfast.v1.PushService/Push`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ targets, event, payload: { json: JSON.stringify(args) }, ...more }),
  });
  if (!response.ok) throw new Error(`push: ${response.status} ${await response.text()}`);
}

const answer = (...args) => ({ ack: { json: JSON.stringify(args) } });
const refuse = (message) => answer({ error: { message } });

const handlers = {
  // A real chat would check a password or a token here.
  EVENT_TYPE_CONNECT({ client, auth, recovered }) {
    const { name, groups = ['lobby'] } = JSON.parse(auth);
    if (typeof name !== 'string' || !/^[\w-]{1,30}$/.test(name)) return { reject: 'a name has up to 30 letters, digits and -' };
    if (!Array.isArray(groups) || groups.some((g) => !/^[\w-]{1,30}$/.test(g))) return { reject: 'groups are named like people' };
    const history = { targets: [{ client: client.id }], event: 'history', payload: { json: JSON.stringify([historyFor(name, groups)]) } };
    return {
      uid: name,
      profile: JSON.stringify({ name }),
      joinRooms: groups,
      pushes: recovered ? [] : [history], // who has recovered got what was missed already
    };
  },

  async EVENT_TYPE_MESSAGE({ id, client, payload }) {
    const [{ to, text } = {}] = JSON.parse(payload.json);
    if (typeof to !== 'string' || typeof text !== 'string' || !text.trim()) return refuse('a message has `to` and `text`');
    const group = to.startsWith('#') ? to.slice(1) : null;
    if (group !== null && !client.rooms?.includes(group)) return refuse(`you are not in ${to}`);

    // Who sent it is what holdfast says, not what the page says.
    const message = { id, from: client.uid, to, text: text.slice(0, 2000), at: Date.now() };
    // The sender's other windows get it too. The event's ID stays the same when the
    // event is given again, so nobody gets a message twice.
    const targets = group !== null ? [{ room: group }] : [{ user: to }, { user: client.uid }];
    await push(targets, 'chat', [message], { filter: { exceptClients: [client.id] }, dedupId: id });
    store(message);
    return answer(message);
  },
};

createServer(async (request, response) => {
  const reply = (status, body) => response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
  if (request.method !== 'POST' || request.url !== '/holdfast.v1.BackendService/HandleEvent') {
    return reply(404, { code: 'unimplemented', message: request.url });
  }
  try {
    let body = '';
    for await (const text of request.setEncoding('utf8')) body += text;
    const event = JSON.parse(body);
    reply(200, (await handlers[event.type]?.(event)) ?? {});
  } catch (error) {
    console.error(error);
    reply(500, { code: 'internal', message: error.message });
  }
}).listen(port, '127.0.0.1', function () {
  console.log(`chat backend on http://127.0.0.1:${this.address().port}`);
});
