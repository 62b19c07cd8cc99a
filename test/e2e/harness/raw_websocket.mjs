// Engine.IO over WebSocket by hand: packets as the peer sent them, through the ws
// library, and whole frames over TCP where even the framing is wrong on purpose.
import { connect } from 'node:net';
import { randomBytes } from 'node:crypto';
import WebSocket from 'ws';
import { upgradeRequest } from './raw_http.mjs';
import { Inbox, defaultLimit, eventOf, within } from './wait.mjs';

export class RawWebSocket {
  packets = new Inbox('no packet on the WebSocket');

  /** Opens a WebSocket; `closed` resolves with its close code and reason. */
  static async open(url, { eio = 4, sid, path = '/socket.io/', query = {}, headers } = {}) {
    const raw = new RawWebSocket();
    const search = new URLSearchParams({ EIO: eio, transport: 'websocket', ...(sid ? { sid } : {}), ...query });
    const ws = new WebSocket(`${url.replace('http', 'ws')}${path}?${search}`, { perMessageDeflate: false, headers });
    raw.ws = ws;
    raw.eio = eio;
    ws.on('message', (data, isBinary) => raw.packets.put(isBinary ? data : data.toString('utf8')));
    ws.on('error', () => {}); // the close that follows says it
    raw.closed = new Promise((resolve) => ws.once('close', (code, reason) => resolve({ code, reason: reason.toString() })));
    const open = new Promise((resolve) => ws.once('open', resolve));
    const refused = raw.closed.then(() => Promise.reject(new Error('the WebSocket was refused')));
    await within(defaultLimit, Promise.race([open, refused]), 'the WebSocket did not open');
    return raw;
  }

  /** Opens a session and connects to the main namespace. */
  static async connect(url, { auth, ...options } = {}) {
    const raw = await RawWebSocket.open(url, options);
    raw.handshake = JSON.parse((await raw.next()).slice(1));
    raw.sid = raw.handshake.sid;
    if (raw.eio === 4) raw.send(`40${auth ? JSON.stringify(auth) : ''}`);
    const answer = await raw.next();
    if (!answer.startsWith('40')) throw new Error(`CONNECT answered by ${answer}`);
    raw.id = raw.eio === 4 ? JSON.parse(answer.slice(2)).sid : raw.sid;
    return raw;
  }

  send(packet) {
    this.ws.send(packet);
  }

  /** The next packet that is not a ping, which is answered. */
  async next(ms) {
    for (;;) {
      const packet = await this.packets.next(ms);
      if (packet === '2' && this.eio === 4) this.send('3');
      else return packet;
    }
  }

  closedWithin(ms = defaultLimit) {
    return within(ms, this.closed, 'the server did not close the WebSocket');
  }

  close() {
    this.ws.terminate();
  }
}

/** A WebSocket over bare TCP, for frames that no library would send. */
export class BareWebSocket {
  static async open(url, query = 'EIO=4&transport=websocket') {
    const bare = new BareWebSocket();
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    bare.socket = socket;
    bare.received = Buffer.alloc(0);
    bare.ended = new Promise((resolve) => {
      socket.once('close', resolve);
      socket.on('error', () => {}); // a reset is an end as well
    });
    socket.on('data', (chunk) => (bare.received = Buffer.concat([bare.received, chunk])));
    socket.write(upgradeRequest(url, query));
    await eventOf(socket, 'data');
    return bare;
  }

  /** Sends one frame; `first` is FIN, RSV and opcode; `masked: false` breaks the rule for clients. */
  frame(first, payload, { masked = true, announced } = {}) {
    const length = announced ?? payload.length;
    const head = [first];
    const bit = masked ? 0x80 : 0;
    if (length < 126) head.push(bit | length);
    else if (length < 65536) head.push(bit | 126, length >> 8, length & 255);
    else {
      const eight = Buffer.alloc(8);
      eight.writeBigUInt64BE(BigInt(length));
      head.push(bit | 127, ...eight);
    }
    const mask = masked ? randomBytes(4) : Buffer.alloc(0);
    const body = masked ? Buffer.from(payload.map((byte, i) => byte ^ mask[i % 4])) : payload;
    this.socket.write(Buffer.concat([Buffer.from(head), mask, body]));
  }

  /** The code of the close frame at the end of what came, once the connection has ended. */
  async closeCode(ms = defaultLimit) {
    await within(ms, this.ended, 'the server did not close the connection');
    const at = this.received.lastIndexOf(0x88);
    return at < 0 || at + 4 > this.received.length ? null : this.received.readUInt16BE(at + 2);
  }

  close() {
    this.socket.destroy();
  }
}
