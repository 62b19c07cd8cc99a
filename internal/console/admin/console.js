// The admin page: one target, what is known of it, and what can be done to it.
import { call, command, count, hasToken, listNodes, useToken } from './api.js';

const $ = (id) => document.getElementById(id);
const every = 2000; // ms between looks at the counters and the first page
const pageSize = 50;
const keptAnswers = 20;

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// --- The target ---

// It stands in the address, #room/doc-1, or with a namespace #room/doc-1?/chat.
let target = { kind: 'all', name: '', namespace: '/' };
let epoch = 0; // answers to questions about an earlier target are thrown away

function readAddress() {
  const [, kind, name = '', namespace = '/'] = location.hash.match(/^#(all|room|user|client|node)(?:\/([^?]*))?(?:\?(.*))?$/) ?? [, 'all'];
  target = { kind, name: decodeURIComponent(name), namespace: decodeURIComponent(namespace) };
  epoch += 1;
  $('kind').value = kind;
  $('who').value = target.name;
  $('who').disabled = kind === 'all';
  $('namespace').value = target.namespace;
  for (const span of document.querySelectorAll('.target-name')) span.textContent = kind === 'all' ? 'everybody' : `${kind} ${target.name}`;
  for (const button of document.querySelectorAll('.side button')) button.disabled = kind === 'node';
  pages = 1;
  look();
}

function choose(kind, name = '', namespace = target.namespace) {
  const address = `#${kind}${kind === 'all' ? '' : `/${encodeURIComponent(name)}`}${namespace === '/' ? '' : `?${encodeURIComponent(namespace)}`}`;
  if (address === location.hash) readAddress();
  else location.hash = address;
}

const asTarget = ({ kind, name, namespace }) => ({
  [kind]: kind === 'all' ? true : name,
  ...(namespace === '/' ? {} : { namespace }),
});

$('kind').addEventListener('change', () => {
  $('who').disabled = $('kind').value === 'all';
  if ($('who').disabled) choose('all', '', $('namespace').value);
  else $('who').focus();
});
$('target').addEventListener('submit', (event) => {
  event.preventDefault();
  choose($('kind').value, $('who').value, $('namespace').value || '/');
});

// --- What is known of it ---

let pages = 1;
let timer = 0;

async function look() {
  clearTimeout(timer);
  if ($('sign-in') && !hasToken()) return askForToken();
  const mine = epoch;
  try {
    const { kind, namespace } = target;
    const [everybody, those, list, one] = await Promise.all([
      count({ all: true, ...(namespace === '/' ? {} : { namespace }) }),
      kind === 'node' ? {} : count(asTarget(target)),
      listClients(),
      kind === 'client' ? call('ClientService/GetClient', { id: target.name }).catch(() => null) : null,
    ]);
    if (mine !== epoch) return;
    write($('all-clients'), everybody.clients);
    write($('all-users'), everybody.users);
    write($('target-clients'), those.clients ?? '–');
    write($('target-users'), those.users ?? '–');
    drawClients(list);
    drawDetails(one);
    if ($('sign-in')) $('sign-in').hidden = true;
    write($('health'), 'API reached');
    $('health').className = 'good';
  } catch (error) {
    if (mine !== epoch) return;
    write($('health'), error.message);
    $('health').className = 'bad';
    if (error.code === 'unauthenticated') askForToken();
  }
  if (mine === epoch && !document.hidden) timer = setTimeout(look, every);
}

const write = (element, value) => {
  const text = typeof value === 'number' ? value.toLocaleString() : value;
  if (element.textContent !== text) element.textContent = text;
};

async function listClients() {
  const of = target.kind === 'node' ? { node: target.name } : { target: asTarget(target) };
  const clients = [];
  let pageToken = '';
  for (let i = 0; i < pages; i += 1) {
    const page = await call('ClientService/ListClients', { ...of, pageSize, pageToken });
    clients.push(...(page.clients ?? []));
    pageToken = page.nextPageToken ?? '';
    if (!pageToken) break;
  }
  return { clients, more: pageToken !== '' };
}

let drawn = '';

function drawClients({ clients, more }) {
  $('no-clients').hidden = clients.length > 0;
  $('more').hidden = !more;
  const rows = clients.map((c) => [c.id, nameOf(c), (c.rooms ?? []).join(', '), `${c.transport ?? ''} ${c.protocol ?? ''}`, c.node ?? '', since(c.connectedAt)]);
  const now = JSON.stringify(rows);
  if (now === drawn) return; // leave focus and selection where they are
  drawn = now;
  const focused = document.activeElement?.dataset.client;
  $('clients').replaceChildren(...rows.map(([id, ...cells], i) => {
    const button = make('button', { type: 'button', className: 'link', textContent: id });
    button.dataset.client = id;
    button.addEventListener('click', () => choose('client', id, clients[i].namespace));
    return make('tr', {}, make('th', { scope: 'row' }, button), ...cells.map((text) => make('td', { textContent: text })));
  }));
  if (focused) [...$('clients').querySelectorAll('button')].find((b) => b.dataset.client === focused)?.focus();
}

const nameOf = ({ uid = '', profile = '' }) => {
  let name;
  try {
    name = JSON.parse(profile || '{}').name;
  } catch {
    // A profile is the backend's own text; without a name the user's ID will do.
  }
  return name ? `${name} (${uid})` : uid || 'anonymous';
};

const since = (time) => (time ? new Date(time).toLocaleString([], { dateStyle: 'short', timeStyle: 'medium' }) : '');

function drawDetails(client) {
  $('details').hidden = !client;
  if (!client) return;
  const entries = Object.entries(client).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : name.endsWith('At') ? since(value) : String(value)]);
  const now = JSON.stringify(entries);
  if ($('details').dataset.drawn === now) return;
  $('details').dataset.drawn = now;
  $('details').replaceChildren(...entries.map(([name, value]) => make('div', {}, make('dt', { textContent: name }), make('dd', { textContent: value }))));
}

// The form is there when the API wants a token.
function askForToken() {
  if (!$('sign-in')?.hidden) return;
  $('sign-in').hidden = false;
  $('token').focus();
}
$('sign-in')?.addEventListener('submit', (event) => {
  event.preventDefault();
  useToken($('token').value.trim());
  $('token').value = '';
  look();
  lookAtNodes();
});

$('more').addEventListener('click', () => {
  pages += 1;
  look();
});
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  look();
  lookAtNodes();
});

// --- The processes ---

let nodesTimer = 0;
let nodesDrawn = '';

async function lookAtNodes() {
  clearTimeout(nodesTimer);
  if (!$('nodes') || ($('sign-in') && !hasToken())) return;
  try {
    drawNodes(await listNodes());
    write($('nodes-problem'), '');
  } catch (error) {
    write($('nodes-problem'), error.message);
  }
  if (!document.hidden) nodesTimer = setTimeout(lookAtNodes, every);
}

function drawNodes(nodes) {
  const heard = ({ silent, dead }) => (dead ? `dead, ${Math.round(silent)} s ago` : silent < 3 ? 'now' : `${Math.round(silent)} s ago`);
  const rows = nodes.map((n) => [n.name, n.kind, n.version, n.clients?.toLocaleString() ?? '–', n.load.toFixed(2), heard(n), since(n.since)]);
  const now = JSON.stringify(rows);
  if (now === nodesDrawn) return;
  nodesDrawn = now;
  const focused = document.activeElement?.dataset.node;
  $('nodes').replaceChildren(...rows.map(([name, ...cells], i) => {
    let head = name;
    if (nodes[i].clients !== undefined) { // its clients can be looked at
      head = make('button', { type: 'button', className: 'link', textContent: name });
      head.dataset.node = name;
      head.addEventListener('click', () => choose('node', name));
    }
    return make('tr', { className: nodes[i].dead ? 'dead' : '' }, make('th', { scope: 'row' }, head),
      ...cells.map((text, column) => make('td', { textContent: text, className: column === 2 || column === 3 ? 'number' : '' })));
  }));
  if (focused) [...$('nodes').querySelectorAll('button')].find((b) => b.dataset.node === focused)?.focus();
}

// --- What can be done to it ---

async function act(method, request) {
  const began = performance.now();
  let text;
  let good = true;
  try {
    text = JSON.stringify(await call(method, request));
  } catch (error) {
    good = false;
    text = `${error.code ?? 'no answer'}: ${error.message}`;
  }
  const took = `${Math.round(performance.now() - began)} ms`;
  $('no-answers').hidden = true;
  $('answers').prepend(make('li', { className: good ? 'good' : 'bad' },
    make('div', {}, make('b', { textContent: method.split('/')[1] }), make('span', { className: 'quiet', textContent: `${new Date().toLocaleTimeString()} · ${took}` })),
    make('code', { textContent: text }),
    make('code', { className: 'quiet', textContent: command(method, request) })));
  while ($('answers').children.length > keptAnswers) $('answers').lastChild.remove();
  look();
}

$('args').addEventListener('input', () => problem(''));
function problem(text) {
  $('args-problem').textContent = text;
  $('args').ariaInvalid = String(text !== '');
}

$('push').addEventListener('submit', (event) => {
  event.preventDefault();
  const json = $('args').value.trim() || '[]';
  try {
    if (!Array.isArray(JSON.parse(json))) return problem('This is JSON, but no array: put it in [ ].');
  } catch (error) {
    return problem(error.message);
  }
  const request = { targets: [asTarget(target)], event: $('event').value, payload: { json } };
  if ($('wait').checked) act('PushService/PushAndWait', request);
  else act('PushService/Push', { ...request, ...($('volatile').checked ? { volatile: true } : {}) });
});
$('wait').addEventListener('change', () => ($('volatile').disabled = $('wait').checked));

$('rooms').addEventListener('submit', (event) => {
  event.preventDefault();
  act(`ClientService/${event.submitter.value}`, { target: asTarget(target), rooms: [$('room').value] });
});

$('disconnect').addEventListener('submit', (event) => {
  event.preventDefault();
  const whom = document.querySelector('.target-name').textContent;
  if (!confirm(`Disconnect ${whom}: ${$('target-clients').textContent} clients?`)) return;
  act('ClientService/Disconnect', { target: asTarget(target), allowReconnect: $('again').checked, reason: $('reason').value });
});

addEventListener('hashchange', readAddress);
readAddress();
lookAtNodes();
