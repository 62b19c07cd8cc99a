// The shared document: joins the room that the address names, and hands what comes
// from it to the parts of the page.
//
//	message       from holdfast: who is here
//	cursor        from others, relayed: where their pointers are
//	page:hello    from others: my name; `ask` by one who has just come
//	page:state    to a newcomer: comments, presenter
//	page:comment  page:slide
//	anything else was pushed by a backend
import { Comments } from './comments.js';
import { Cursors } from './cursors.js';
import { $, asText } from './dom.js';
import { Follow } from './follow.js';
import { People } from './people.js';
import { Pushes } from './pushes.js';
import { openSocket } from './socket.js';

const { api, path, stock, presence, program } = document.body.dataset;
const query = new URLSearchParams(location.search);
const guid = query.get('guid') || 'doc-1';
const all = (selector) => [...document.querySelectorAll(selector)];

// A reload goes on where the page ended. The note is taken away while the page
// runs, so that a copy of this tab does not claim to be this one.
const noteKey = `holdfast:${guid}`;
const note = JSON.parse(sessionStorage.getItem(noteKey) ?? '{}');
sessionStorage.removeItem(noteKey);

const polling = query.get('transport') === 'polling';
const socket = openSocket({ stock: stock === 'true', path, auth: { guid }, resume: note.resume, polling, onUpgrade: online });
const people = new People($('people'), $('count'));
const pushes = new Pushes($('pushes'), $('no-pushes'), $('toasts'));
const cursors = new Cursors($('document'), people, (place) => {
  socket.volatile.emit('cursor', { id: people.me, ...place });
  return socket.transport();
});
const comments = new Comments(
  { list: $('comments'), none: $('no-comments'), form: $('comment-form'), text: $('comment-text'), about: $('comment-about'), clear: $('comment-clear') },
  people,
  $('document'),
);
const follow = new Follow(
  { slides: all('.slide'), tabs: all('.tabs button'), previous: $('previous'), next: $('next'), rows: all('#rows tr'), present: $('present'), follow: $('follow'), status: $('presenting') },
  people,
);

// --- My name ---

const nameBox = $('name');
nameBox.value = sessionStorage.getItem('holdfast:name') ?? `Guest ${100 + Math.floor(Math.random() * 900)}`;
sessionStorage.setItem('holdfast:name', nameBox.value);
nameBox.addEventListener('change', () => {
  nameBox.value = nameBox.value.trim() || 'Guest';
  sessionStorage.setItem('holdfast:name', nameBox.value);
  hello();
});

function hello(more) {
  people.hello(people.me, nameBox.value);
  socket.emit('page:hello', { id: people.me, name: nameBox.value, ...more });
}

// --- The connection ---

function state(kind, text) {
  $('state').dataset.state = kind;
  $('state-text').textContent = text;
  $('drop').disabled = kind !== 'on';
  $('come-back').hidden = kind !== 'out';
}

function online() {
  state('on', `Connected by ${socket.transport() === 'websocket' ? 'WebSocket' : 'long-polling'}`);
}
let before = Boolean(note.resume?.pid);

socket.on('connect', () => {
  online();
  if (before) pushes.say(...(socket.recovered ? ['Back', 'Recovered: nothing was missed.'] : ['Back', 'Too much time has passed to recover; the others send the comments.']));
  before = true;
  if (!socket.recovered || !people.me) {
    follow.leave(people.me); // who I was presents no longer
    people.alone(socket.id);
  }
  hello({ ask: true });
  comments.sendAgain();
});
socket.on('disconnect', (reason) => {
  cursors.clear();
  if (reason === 'io server disconnect') state('out', 'Disconnected by the server');
  else state('off', 'Connection lost; trying again…');
});
socket.on('connect_error', (error) => state('off', `Not connected: ${error.message}`));
$('drop').addEventListener('click', () => socket.drop());
$('come-back').addEventListener('click', () => socket.connect());

// --- What comes ---

const unanswered = new Set(); // newcomers who have asked

const handlers = {
  [presence]: (data) => {
    if (data?.type !== 'presence') return false;
    people.presence(data.data);
    follow.draw();
  },
  cursor: (data) => cursors.show(data),
  'page:hello': (data) => {
    const id = asText(data?.id, 64);
    people.hello(id, asText(data?.name, 40, 'Somebody'));
    follow.draw();
    if (!data?.ask) return;
    hello();
    // Who is here longest answers first, the next one only when no answer was seen.
    unanswered.add(id);
    setTimeout(() => {
      if (unanswered.delete(id)) socket.emit('page:state', { to: id, comments: comments.all.slice(-50), presenter: follow.presenter });
    }, 300 * people.older);
  },
  'page:state': (data) => {
    unanswered.delete(data?.to);
    if (data?.to !== people.me) return;
    for (const comment of data.comments ?? []) comments.add(comment);
    if (data.presenter) follow.show({ on: true, ...data.presenter });
  },
  'page:comment': (data) => {
    if (comments.add(data)) $('comment-news').textContent = `${asText(data.name, 40)} commented: ${asText(data.text, 200)}`;
  },
  'page:slide': (data) => follow.show(data),
};

socket.onAny((event, ...args) => {
  const handle = handlers[event];
  if (handle && handle(args[0]) !== false) return;
  // PushAndWait wants an answer. Without one, the stock client has the offset of recovery at the end.
  if (typeof args.at(-1) === 'function') args.pop()({ from: nameBox.value });
  else if (stock === 'true' && args.length > 1 && typeof args.at(-1) === 'string') args.pop();
  pushes.show(event, args);
});

people.onLeave = (id) => {
  cursors.hide(id);
  follow.leave(id);
};
comments.onSend = (comment, stored) => socket.emit('page:comment', comment, stored);
follow.onPresent = (view) => socket.emit('page:slide', { id: people.me, ...view });
for (const comment of note.comments ?? []) comments.add(comment);

addEventListener('pagehide', () => {
  sessionStorage.setItem(noteKey, JSON.stringify({ resume: socket.resume(), comments: comments.all }));
});
addEventListener('pageshow', ({ persisted }) => persisted && sessionStorage.removeItem(noteKey));

// --- Texts that depend on the room ---

const quoted = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;
const word = (text) => (/^[\w.-]+$/.test(text) ? text : quoted(text));
document.title = `${guid} · holdfast`;
$('guid').textContent = guid;
$('another').href = `/?guid=${encodeURIComponent(guid)}`;
const elsewhere = api === 'http://127.0.0.1:8001' ? '' : ` --api ${api}`;
$('command').textContent = `${program} push --room ${word(guid)} --event saved '{"rev":12}'${elsewhere}`;
const request = { targets: [{ room: guid }], event: 'saved', payload: { json: '[{"rev":12}]' } };
$('curl').textContent = `curl ${api}/holdfast.v1.PushService/Push -d ${quoted(JSON.stringify(request))}`;
for (const button of all('[data-copy]')) {
  button.addEventListener('click', async () => {
    await navigator.clipboard?.writeText($(button.dataset.copy).textContent);
    pushes.say('Copied', 'Paste it into a terminal.');
  });
}
