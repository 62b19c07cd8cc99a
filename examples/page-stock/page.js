import { io } from './socket.io.js';

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const name = query.get('name') || `guest-${Math.floor(Math.random() * 1000)}`;

// `guid` is the room that holdfast itself puts a client into where no backend decides.
const socket = io(query.get('server') || 'http://127.0.0.1:8000', { auth: { name, guid: 'lobby' } });

function show({ from, to, text, at }) {
  const item = document.createElement('li');
  item.textContent = `${at ? `${new Date(at).toLocaleTimeString()} ` : ''}${from} → ${to}: ${text}`;
  $('messages').append(item);
}

socket.on('connect', () => {
  $('state').textContent = `${name}, connected${socket.recovered ? ' again, nothing missed' : ''}`;
});
socket.on('disconnect', (reason) => ($('state').textContent = `not connected: ${reason}`));
socket.on('connect_error', (error) => ($('state').textContent = `not connected: ${error.message}`));
socket.on('chat', show);
socket.on('history', (messages) => {
  $('messages').replaceChildren();
  messages.forEach(show);
});

$('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const message = { from: name, to: $('to').value, text: $('text').value };
  $('text').value = '';
  // A backend answers with the message as it was stored; a plain relay with nothing.
  const answer = await socket.timeout(5000).emitWithAck('chat', message).catch((error) => ({ error }));
  if (answer?.error) $('state').textContent = `not sent: ${answer.error.message}`;
  else show(answer ?? message);
});
