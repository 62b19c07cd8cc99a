// As much of a Socket.IO client as this page needs: Engine.IO 4 and Socket.IO 5
// over WebSocket, or long-polling where WebSockets are blocked; it reconnects and
// recovers. Its methods are those of the stock client.

const separator = '\x1e'; // between the packets of one polling body
const retryAfter = { first: 500, most: 5000 };

export function connect(options) {
  return new Socket(options);
}

class Socket {
  connected = false;
  recovered = false;
  id = undefined;
  #options;
  #handlers = new Map();
  #all = [];
  #acks = new Map();
  #nextAck = 0;
  #attempt = 0; // how many have failed in a row
  #passes = false; // WebSockets are let through
  #retry = 0;
  #wire = null;
  #silence = 0; // the timer that runs out when no ping comes
  #pings = {};
  #resume; // {pid, offset}
  #parts = null; // an event whose attachments are on their way

  /** options: path, auth, resume ({pid, offset} of an earlier page), polling (true: no WebSocket). */
  constructor(options) {
    this.#options = options;
    this.#resume = options.resume ?? {};
    addEventListener('online', () => this.#retry && this.connect());
    queueMicrotask(() => this.connect());
  }

  /** The name of the transport. */
  transport() {
    return this.#wire?.name;
  }

  /** What a later page needs to go on where this one ends. */
  resume() {
    return this.#resume;
  }

  /** Events sent this way are dropped when the line is not free. */
  get volatile() {
    return { emit: (...args) => this.connected && this.#wire.free() && this.emit(...args) };
  }

  on(event, handler) {
    this.#handlers.set(event, [...(this.#handlers.get(event) ?? []), handler]);
  }

  onAny(handler) {
    this.#all.push(handler);
  }

  /** Sends an event; a function at the end gets the acknowledgement. Nothing is sent, or kept, while not connected. */
  emit(event, ...args) {
    if (!this.connected) return;
    let id = '';
    if (typeof args.at(-1) === 'function') this.#acks.set((id = this.#nextAck++), args.pop());
    this.#wire.send(`42${id}${JSON.stringify([event, ...args])}`);
  }

  connect() {
    clearTimeout(this.#retry);
    this.#retry = 0;
    if (this.#wire) return;
    // A network that lets no WebSocket through shows by one that never opens.
    const polling = this.#options.polling || (!this.#passes && this.#attempt % 2 === 1);
    const url = new URL(this.#options.path, location.href);
    url.search = `EIO=4&transport=${polling ? 'polling' : 'websocket'}`;
    const wire = (polling ? openPolling : openWebSocket)(
      url,
      (packet) => this.#wire === wire && this.#engine(packet),
      () => this.#wire === wire && this.#close('transport close'),
    );
    this.#wire = wire;
    this.#listen(20_000);
  }

  /** Ends the connection as a bad network would. */
  drop() {
    this.#close('transport close');
  }

  #listen(limit) {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#close('ping timeout'), limit);
  }

  #close(reason) {
    if (!this.#wire) return;
    clearTimeout(this.#silence);
    this.#wire.close();
    this.#wire = null;
    this.#parts = null;
    this.#acks.clear();
    const was = this.connected;
    this.connected = this.recovered = false;
    if (was) this.#tell('disconnect', reason);
    else this.#tell('connect_error', new Error('the server cannot be reached'));
    if (reason === 'io server disconnect') return;
    const wait = Math.min(retryAfter.first * 2 ** this.#attempt, retryAfter.most);
    if (!was) this.#attempt += 1;
    this.#retry = setTimeout(() => this.connect(), wait * (0.5 + Math.random() / 2));
  }

  // An Engine.IO packet: a type digit and the rest, or a binary message.
  #engine(packet) {
    if (typeof packet !== 'string') return this.#attachment(packet);
    const rest = packet.slice(1);
    switch (packet[0]) {
      case '0':
        this.#pings = JSON.parse(rest);
        this.#listen(this.#pings.pingInterval + this.#pings.pingTimeout);
        this.#wire.send(`40${JSON.stringify({ ...this.#options.auth, ...this.#resume })}`);
        break;
      case '1':
        this.#close('transport close');
        break;
      case '2':
        this.#listen(this.#pings.pingInterval + this.#pings.pingTimeout);
        this.#wire.send(`3${rest}`);
        break;
      case '4':
        this.#packet(rest);
    }
  }

  // A Socket.IO packet of the namespace "/": type, [attachments-], [ack id], JSON.
  #packet(text) {
    const [, type, count, id, json] = text.match(/^(\d)(?:(\d+)-)?(\d*)(.*)$/s) ?? [];
    if (count > 0) {
      this.#parts = { type: type - 3, id, json, count: Number(count), got: [] };
      return;
    }
    this.#deliver(Number(type), id, json === '' ? undefined : JSON.parse(json));
  }

  #attachment(bytes) {
    const parts = this.#parts;
    if (!parts) return;
    parts.got.push(bytes);
    if (parts.got.length < parts.count) return;
    this.#parts = null;
    const data = JSON.parse(parts.json, (_, v) => (v?._placeholder ? parts.got[v.num] : v));
    this.#deliver(parts.type, parts.id, data);
  }

  #deliver(type, id, data) {
    switch (type) {
      case 0:
        this.recovered = data.pid !== undefined && data.pid === this.#resume.pid;
        this.id = data.sid;
        if (!this.recovered) this.#resume = data.pid ? { pid: data.pid } : {};
        this.connected = true;
        this.#attempt = 0;
        this.#passes ||= this.#wire.name === 'websocket';
        this.#tell('connect');
        break;
      case 1:
        this.#resume = {};
        this.#close('io server disconnect');
        break;
      case 2:
        this.#event(id, data);
        break;
      case 3:
        this.#acks.get(Number(id))?.(...data);
        this.#acks.delete(Number(id));
        break;
      case 4:
        this.#resume = {};
        this.#tell('connect_error', Object.assign(new Error(data.message), { data: data.data }));
    }
  }

  #event(id, [event, ...args]) {
    if (id !== '') {
      args.push((...answer) => this.#wire?.send(`43${id}${JSON.stringify(answer)}`));
    } else if (this.#resume.pid && typeof args.at(-1) === 'string') {
      this.#resume.offset = args.pop(); // how far this page has got; no argument of the event
    }
    for (const handler of this.#all) handler(event, ...args);
    this.#tell(event, ...args);
  }

  #tell(event, ...args) {
    for (const handler of this.#handlers.get(event) ?? []) handler(...args);
  }
}

function openWebSocket(url, onPacket, onClose) {
  const ws = new WebSocket(url.href.replace(/^http/, 'ws'));
  ws.binaryType = 'arraybuffer';
  ws.onmessage = (message) => onPacket(message.data);
  ws.onclose = onClose;
  return {
    name: 'websocket',
    send: (packet) => ws.send(packet),
    free: () => ws.readyState === WebSocket.OPEN && ws.bufferedAmount === 0,
    close: () => ws.close(),
  };
}

function openPolling(url, onPacket, onClose) {
  const abort = new AbortController();
  const out = [];
  let posting = false;

  async function request(body) {
    const response = await fetch(url, { method: body ? 'POST' : 'GET', body, signal: abort.signal, cache: 'no-store' });
    if (!response.ok) throw new Error(`status ${response.status}`);
    return response.text();
  }
  async function poll() {
    while (!abort.signal.aborted) {
      for (const packet of (await request()).split(separator)) {
        if (packet[0] === '0') url.searchParams.set('sid', JSON.parse(packet.slice(1)).sid);
        onPacket(packet[0] === 'b' ? Uint8Array.from(atob(packet.slice(1)), (c) => c.charCodeAt(0)).buffer : packet);
      }
    }
  }
  async function post() {
    if (posting) return;
    posting = true;
    while (out.length > 0) await request(out.splice(0).join(separator));
    posting = false;
  }
  poll().catch(onClose);
  return {
    name: 'polling',
    send(packet) {
      out.push(packet);
      post().catch(onClose);
    },
    free: () => !posting,
    close: () => abort.abort(),
  };
}
