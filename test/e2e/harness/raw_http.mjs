// Engine.IO long-polling by hand, and single requests whose every byte counts.
import { Agent, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { within, defaultLimit } from './wait.mjs';

/**
 * One HTTP request.
 * @returns {Promise<{status: number, headers: object, bytes: Buffer, body: string}>}
 */
export function request(url, { method = 'GET', headers = {}, body, agent, signal } = {}) {
  const answer = new Promise((resolve, reject) => {
    const out = httpRequest(url, { method, headers, agent, signal }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const bytes = Buffer.concat(chunks);
        resolve({ status: response.statusCode, headers: response.headers, bytes, body: bytes.toString('utf8') });
      });
    });
    out.on('error', reject);
    out.end(body);
  });
  return within(defaultLimit, answer, `no answer to ${method} ${url}`);
}

/** Sends bytes over TCP and returns all that comes back until the other side closes. */
export function exchange(url, text) {
  const { hostname, port } = new URL(url);
  const answer = new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(text));
    const chunks = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('end', () => {
      socket.destroy();
      resolve(Buffer.concat(chunks).toString('latin1'));
    });
  });
  return within(defaultLimit, answer, 'the server did not close the connection');
}

/** Splits an HTTP/1.1 answer into status line, headers (lower case) and body. */
export function parseAnswer(text) {
  const end = text.indexOf('\r\n\r\n');
  const [statusLine, ...lines] = text.slice(0, end).split('\r\n');
  const headers = Object.fromEntries(lines.map((l) => [l.slice(0, l.indexOf(':')).toLowerCase(), l.slice(l.indexOf(':') + 1).trim()]));
  return { statusLine, headers, body: text.slice(end + 4) };
}

/** The bytes of a WebSocket handshake, for failures that come before the 101. */
export function upgradeRequest(url, query) {
  return [
    `GET /socket.io/?${query} HTTP/1.1`,
    `Host: ${new URL(url).host}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    '',
    '',
  ].join('\r\n');
}

/** The packets of a polling body, as strings with their type digit, or Buffers for binary messages. */
export function parsePayload(eio, bytes) {
  if (eio === 4) {
    return bytes.toString('utf8').split('\x1e').map((p) => (p[0] === 'b' ? Buffer.from(p.slice(1), 'base64') : p));
  }
  return bytes.length > 0 && bytes[0] <= 1 ? parseOctets(bytes) : parseCounted(bytes.toString('utf8'));
}

// EIO3 text: <length>:<packet>…, the length in UTF-16 units, as JavaScript counts.
function parseCounted(text) {
  const packets = [];
  for (let at = 0; at < text.length; ) {
    const colon = text.indexOf(':', at);
    const length = Number(text.slice(at, colon));
    const packet = text.slice(colon + 1, colon + 1 + length);
    if (packet.length !== length) throw new Error(`length ${length} does not fit ${JSON.stringify(text)}`);
    packets.push(packet.startsWith('b4') ? Buffer.from(packet.slice(2), 'base64') : packet);
    at = colon + 1 + length;
  }
  return packets;
}

// EIO3 binary: 0 or 1, the digits of the length as bytes 0-9, 0xff, the data.
function parseOctets(bytes) {
  const packets = [];
  for (let at = 0; at < bytes.length; ) {
    const isBinary = bytes[at] === 1;
    const end = bytes.indexOf(0xff, at);
    const length = Number([...bytes.subarray(at + 1, end)].join(''));
    const data = bytes.subarray(end + 1, end + 1 + length);
    if (data.length !== length) throw new Error(`length ${length} does not fit the body`);
    if (isBinary && data[0] !== 4) throw new Error(`binary packet of type ${data[0]}`);
    packets.push(isBinary ? Buffer.from(data.subarray(1)) : data.toString('utf8'));
    at = end + 1 + length;
  }
  return packets;
}

/** A polling body of the given packets, all strings. */
export function formatPayload(eio, packets) {
  return eio === 4 ? packets.join('\x1e') : packets.map((p) => `${p.length}:${p}`).join('');
}

/** One polling session. The caller sees every request; nothing is sent on its own. */
export class PollingSession {
  #queue = [];

  constructor(url, { eio = 4, path = '/socket.io/', query = {} } = {}) {
    this.url = url;
    this.eio = eio;
    this.path = path;
    this.query = query;
    this.agent = new Agent({ keepAlive: true });
  }

  static async open(url, options) {
    const session = new PollingSession(url, options);
    const { bytes, status, body } = await session.get();
    if (status !== 200) throw new Error(`handshake: ${status} ${body}`);
    const [open, ...rest] = parsePayload(session.eio, bytes);
    session.handshake = JSON.parse(open.slice(1));
    session.sid = session.handshake.sid;
    session.#queue = rest;
    return session;
  }

  /** Opens and connects to the main namespace. */
  static async connect(url, { auth, ...options } = {}) {
    const session = await PollingSession.open(url, options);
    if (session.eio === 4) await session.post(`40${auth ? JSON.stringify(auth) : ''}`);
    const answer = await session.next();
    if (!String(answer).startsWith('40')) throw new Error(`CONNECT answered by ${answer}`);
    session.id = session.eio === 4 ? JSON.parse(answer.slice(2)).sid : session.sid;
    return session;
  }

  address(more = {}) {
    const query = new URLSearchParams({ EIO: this.eio, transport: 'polling', ...this.query, ...(this.sid ? { sid: this.sid } : {}), ...more });
    return `${this.url}${this.path}?${query}`;
  }

  get(options) {
    return request(this.address(), { agent: this.agent, ...options });
  }

  /** POSTs packets; a Buffer as the only argument goes as it is. */
  post(...packets) {
    const body = Buffer.isBuffer(packets[0]) ? packets[0] : formatPayload(this.eio, packets);
    return this.postBody(body, Buffer.isBuffer(body) ? 'application/octet-stream' : 'text/plain;charset=UTF-8');
  }

  postBody(body, contentType = 'text/plain;charset=UTF-8') {
    return request(this.address(), { method: 'POST', headers: { 'Content-Type': contentType }, body, agent: this.agent });
  }

  /** The next packet, fetched when none is waiting. Engine pings of EIO4 are answered. */
  async next() {
    for (;;) {
      while (this.#queue.length === 0) {
        const { status, bytes, body } = await this.get();
        if (status !== 200) throw new Error(`poll: ${status} ${body}`);
        this.#queue.push(...parsePayload(this.eio, bytes));
      }
      const packet = this.#queue.shift();
      if (packet === '2' && this.eio === 4) await this.post('3');
      else if (packet !== '6') return packet;
    }
  }

  /** A GET that is waiting at the server, as far as one can tell: nothing says that it has arrived. */
  async waitingGet() {
    const answer = this.get();
    await new Promise((resolve) => setTimeout(resolve, 150));
    return { answer };
  }

  /** The answer to a poll after the session's end: one before it may still bring the close packet. */
  async afterEnd() {
    const last = await this.get();
    const answer = /^((1:6)?1:1|(6\x1e)?1)$/.test(last.body) ? await this.get() : last;
    this.agent.destroy();
    return answer;
  }

  /** Ends the session and frees its connections. */
  async close() {
    await this.post('1').catch(() => {});
    this.agent.destroy();
  }
}
