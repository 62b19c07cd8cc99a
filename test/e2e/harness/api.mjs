// ws-api by plain HTTP and JSON, the way curl would call it.
import { payloadOf } from './backend.mjs';

export class Api {
  constructor(url) {
    this.url = url;
  }

  /** Calls one method; returns status and the parsed answer, whatever the status. */
  async raw(service, method, request) {
    const response = await fetch(`${this.url}/holdfast.v1.${service}/${method}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: typeof request === 'string' ? request : JSON.stringify(request),
    });
    const text = await response.text();
    let body = text;
    try {
      body = JSON.parse(text);
    } catch {
      // A status that is not ws-api's own may come with any text.
    }
    return { status: response.status, body };
  }

  async call(service, method, request) {
    const { status, body } = await this.raw(service, method, request);
    if (status !== 200) throw new Error(`${service}/${method}: ${status} ${JSON.stringify(body)}`);
    return body;
  }

  /** Pushes to one target or several; `more` holds further fields of PushRequest. */
  push(targets, event, args = [], more = {}) {
    return this.call('PushService', 'Push', { targets: [targets].flat(), event, payload: payloadOf(args), ...more });
  }

  pushAndWait(targets, event, args = [], ackTimeout = '5s') {
    return this.call('PushService', 'PushAndWait', { targets: [targets].flat(), event, payload: payloadOf(args), ackTimeout });
  }

  getClient(id) {
    return this.call('ClientService', 'GetClient', { id });
  }

  async listClients(target, more = {}) {
    const answer = await this.call('ClientService', 'ListClients', { target, ...more });
    return { clients: answer.clients ?? [], nextPageToken: answer.nextPageToken ?? '' };
  }

  // proto3 JSON leaves out zeros and writes 64-bit numbers as strings.
  async countClients(target) {
    const answer = await this.call('ClientService', 'CountClients', { target });
    return { clients: Number(answer.clients ?? 0), users: Number(answer.users ?? 0) };
  }

  async join(target, rooms) {
    return (await this.call('ClientService', 'Join', { target, rooms })).clients ?? 0;
  }

  async leave(target, rooms) {
    return (await this.call('ClientService', 'Leave', { target, rooms })).clients ?? 0;
  }

  async disconnect(target, more = {}) {
    return (await this.call('ClientService', 'Disconnect', { target, ...more })).clients ?? 0;
  }
}
