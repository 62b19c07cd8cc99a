// A stub backend: an HTTP server with BackendService/HandleEvent in proto3 JSON.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { Inbox } from './wait.mjs';

const path = '/holdfast.v1.BackendService/HandleEvent';

export const connectEvent = 'EVENT_TYPE_CONNECT';
export const messageEvent = 'EVENT_TYPE_MESSAGE';
export const disconnectEvent = 'EVENT_TYPE_DISCONNECT';

/**
 * `handle(event)` returns the EventReply, as an object in proto3 JSON. It may be
 * replaced at any time; whatever it throws becomes a 500. Every event is also
 * put into `events`.
 */
export class StubBackend {
  events = new Inbox('the backend got no such event');
  requests = [];
  handle = () => ({});

  static async start() {
    const backend = new StubBackend();
    backend.server = createServer((request, response) => backend.#serve(request, response));
    backend.server.listen(0, '127.0.0.1');
    await once(backend.server, 'listening');
    backend.url = `http://127.0.0.1:${backend.server.address().port}`;
    return backend;
  }

  async #serve(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const answer = (status, body) => {
      response.writeHead(status, { 'Content-Type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    if (request.method !== 'POST' || request.url !== path) {
      return answer(404, { code: 'not_found', message: `${request.method} ${request.url}` });
    }
    const event = JSON.parse(Buffer.concat(chunks).toString('utf8'));
    this.requests.push({ headers: request.headers, event });
    this.events.put(event);
    try {
      answer(200, (await this.handle(event)) ?? {});
    } catch (error) {
      answer(500, { code: 'internal', message: error.message });
    }
  }

  /** The next event for which `passes` holds; earlier ones are dropped. */
  next(passes = () => true, ms) {
    return this.events.find(passes, ms);
  }

  nextMessage(name, ms) {
    return this.next((e) => e.type === messageEvent && (e.event ?? '') === name, ms);
  }

  /** Back to the first state: empty replies, nothing heard. Late events of closed clients may still come. */
  forget() {
    this.handle = () => ({});
    this.events = new Inbox('the backend got no such event');
    this.requests = [];
  }

  async stop() {
    this.server.close();
    this.server.closeAllConnections?.();
  }
}

/** The argument array of an event's or reply's payload. */
export function argsOf(payload) {
  return JSON.parse(payload.json);
}

/** The attachments of a payload as Buffers. */
export function attachmentsOf(payload) {
  return (payload.attachments ?? []).map((text) => Buffer.from(text, 'base64'));
}

/** A payload in proto3 JSON; Buffers at the top level of `args` become attachments. */
export function payloadOf(args) {
  const attachments = [];
  const json = JSON.stringify(
    args.map((arg) => {
      if (!Buffer.isBuffer(arg)) return arg;
      attachments.push(arg.toString('base64'));
      return { _placeholder: true, num: attachments.length - 1 };
    }),
  );
  return attachments.length > 0 ? { json, attachments } : { json };
}
