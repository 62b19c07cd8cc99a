// ws-api's two-way streams over HTTP/2: Connect's protocol with JSON, where each
// message has a byte of flags and its length before it.
import { connect } from 'node:http2';

const ending = 2; // flag of the last message, which says how the stream has ended

/**
 * One call of a streaming method. `onMessage` gets each answer; `ended` settles with
 * null after an orderly end, else with {code, message}.
 */
export class Stream {
  #pending = Buffer.alloc(0);

  constructor(url, method, onMessage) {
    this.session = connect(url);
    this.onMessage = onMessage;
    this.ended = new Promise((resolve) => (this.end = (error) => (resolve(error), this.session.destroy())));
    this.session.on('error', (error) => this.end({ code: 'broken', message: error.message }));
    this.session.on('close', () => this.end({ code: 'broken', message: 'the connection was closed' }));
    this.request = this.session.request({ ':method': 'POST', ':path': `/holdfast.v1.${method}`, 'content-type': 'application/connect+json' });
    this.request.on('response', (headers) => headers[':status'] === 200 || this.end({ code: 'broken', message: `status ${headers[':status']}` }));
    this.request.on('data', (chunk) => this.#read(chunk));
    this.request.on('error', (error) => this.end({ code: 'broken', message: error.message }));
    this.request.on('close', () => this.end({ code: 'broken', message: 'the stream was closed' }));
  }

  send(message) {
    const body = Buffer.from(JSON.stringify(message));
    const head = Buffer.alloc(5);
    head.writeUInt32BE(body.length, 1);
    this.request.write(Buffer.concat([head, body]));
  }

  /** Gives up at once, as one whose patience is over. */
  abandon() {
    this.end({ code: 'broken', message: 'given up' });
  }

  #read(chunk) {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    while (this.#pending.length >= 5) {
      const length = this.#pending.readUInt32BE(1);
      if (this.#pending.length < 5 + length) return;
      const message = JSON.parse(this.#pending.subarray(5, 5 + length).toString('utf8') || '{}');
      const flags = this.#pending[0];
      this.#pending = this.#pending.subarray(5 + length);
      if (flags & ending) this.end(message.error ?? null);
      else this.onMessage(message);
    }
  }
}
