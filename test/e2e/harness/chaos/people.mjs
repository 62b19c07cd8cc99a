// Clients that come back by themselves, and take note of what they get, when, and as whom.
import { makeClient } from '../clients.mjs';

/**
 * Somebody with a stock client. A *stay* is the time in which they have one socket ID:
 * one connection, or several of which all but the first were recovered. What was pushed
 * during a stay has to have come, each thing once.
 */
export class Person {
  stays = [];
  connections = 0;
  journal = []; // {at, what}: its connections, and what it got
  sent = []; // {kind, n, connection, at, acked}
  counts = { kept: 0, asked: 0, said: 0 };
  userCount = 0;
  problems = [];

  constructor(site, streams, { name, version, transport, rooms, msgpack }) {
    Object.assign(this, { site, streams, name, version, transport, rooms, recovers: version === 4 });
    const options = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 300, randomizationFactor: 0.5, timeout: 5000 };
    this.client = makeClient(site.url, { version, transport, msgpack, auth: { name }, options });
    this.client.on('connect', () => this.#connected());
    this.client.on('disconnect', (reason, details) => this.#note(`left: ${reason}, ${details?.message ?? ''} ${details?.description?.message ?? details?.description ?? ''}`));
    this.client.on('connect_error', (error) => this.#refused(error));
    if (version === 2) this.client.on('error', (error) => this.#refused({ data: error }));
    for (const event of ['reconnect_attempt', 'reconnect_error', 'reconnect_failed']) this.client.io.on(event, (e) => this.#note(`${event} ${e?.message ?? e}`));
    this.client.on('n', (stream, n, offset) => this.#got(stream, n, offset));
    this.client.on('said', (from, connection, n, offset) => this.#got(`said ${from} ${connection}`, n, offset));
    this.client.on('wait', (n, answer) => {
      this.#got('wait', n);
      answer(n);
    });
    this.client.on('message', (m) => {
      if (m?.data && m.room === 'a') this.userCount = m.data.userCount;
    });
  }

  get stay() {
    return this.stays.at(-1);
  }

  #note(what) {
    this.journal.push({ at: this.site.now(), what });
  }

  /** A CONNECT that a backend could not decide about is tried again; whatever else failed the client repeats by itself. */
  #refused(error) {
    this.#note(`refused: ${error.message} ${JSON.stringify(error.data)}`);
    if (!error.data?.retry) return;
    setTimeout(() => {
      if (this.version === 2) this.client.io.engine.close();
      else this.client.connect();
    }, 200);
  }

  #connected() {
    const { id } = this.client;
    const recovered = this.client.recovered === true;
    this.connections += 1;
    this.#note(`connected as ${id}${recovered ? ', recovered' : ''}`);
    const stay = this.#stayOf(id);
    if (recovered && this.stays.length > 0 && stay !== this.stay) this.problems.push(`was recovered as ${id}, which it was not`);
    if (!recovered && stay.from) this.problems.push(`is new, and has the ID ${id} of before`);
    if (!stay.from) {
      // All whose push has not begun yet is for this one.
      stay.from = new Map(Object.entries(this.streams).map(([name, stream]) => [name, stream.begun + 1]));
      stay.at = this.site.now();
    }
    stay.connections.add(this.connections);
  }

  #stayOf(id) {
    let stay = this.stays.find((s) => s.id === id);
    if (!stay) this.stays.push((stay = { id, got: new Map(), connections: new Set() }));
    return stay;
  }

  #got(stream, n, offset = '') {
    const stay = this.#stayOf(this.client.id);
    if (!stay.got.has(stream)) stay.got.set(stream, []);
    stay.got.get(stream).push(n);
    this.#note(`  ${stream} ${n} ${offset}`);
  }

  /** Emits one event that wants an acknowledgement, if there is a connection. */
  emit(kind) {
    if (!this.client.connected) return;
    const entry = { kind, n: (this.counts[kind] += 1), connection: this.connections, at: this.site.now() };
    this.sent.push(entry);
    this.#note(`  sends ${kind} ${entry.n}`);
    const args = kind === 'said' ? [this.name, entry.connection, entry.n] : [entry.connection, entry.n];
    this.client.emit(kind, ...args, (answer) => {
      if (answer?.error) this.#note(`  ${kind} ${entry.n} was answered with ${answer.error.code}`);
      else if (entry.acked) this.problems.push(`${kind} ${entry.n} was acknowledged twice`);
      else entry.acked = this.site.now();
      if (kind === 'asked' && !answer?.error && answer !== entry.n) this.problems.push(`asked ${entry.n} was answered with ${JSON.stringify(answer)}`);
    });
  }

  /** Loses the connection without a word. */
  drop() {
    const { engine } = this.client.io;
    engine?.transport?.ws?.terminate?.();
    if (engine && !engine.transport?.ws) engine.close();
  }

  close() {
    this.client.close();
  }
}
