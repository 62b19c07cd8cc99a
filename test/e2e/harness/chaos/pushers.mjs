// Backends that push numbered messages and take note of what was answered.
import { Api } from '../api.mjs';
import { Stream } from '../streams.mjs';

const patience = 6000; // longer than another attempt at a push can hold one up

/** The messages of one pusher, numbered from 1 in the order in which they are pushed. */
class Numbered {
  begun = 0;
  acked = new Map(); // n → when
  unsure = new Set(); // failed for good: they may come, at any time
  times = new Map(); // n → when its push began

  constructor(name, { rooms = [], to, ordered = true }) {
    Object.assign(this, { name, rooms, ordered, to: to ?? rooms.map((room) => ({ room })) });
  }

  request(n, more = {}) {
    return { targets: this.to, event: 'n', payload: { json: JSON.stringify([this.name, n]) }, ...more };
  }

  next(now) {
    this.begun += 1;
    this.times.set(this.begun, now);
    return this.begun;
  }
}

export class Pushers {
  streams = {};
  waits = []; // of PushAndWait: {n, at, answered, failed}
  errors = new Map(); // code → how often

  constructor(site, random, run) {
    Object.assign(this, { site, random, run });
    this.add('stream-a', { rooms: ['a'] });
    this.add('push-a', { rooms: ['a'] });
    this.add('plain-b', { rooms: ['b'] });
    this.add('both', { rooms: ['a', 'b'], ordered: false });
    this.add('user', { to: [{ user: 'p9' }] });
    this.add('wait', { rooms: ['a'], ordered: false });
    this.streams.wait.unlogged = true;
  }

  add(name, options) {
    this.streams[name] = new Numbered(name, options);
  }

  start() {
    this.running = Promise.all([
      this.#streamed(this.streams['stream-a']),
      this.#repeated(this.streams['push-a'], 30),
      this.#repeated(this.streams.both, 400),
      this.#repeated(this.streams.user, 60),
      this.#once(this.streams['plain-b'], 25),
      this.#waited(this.streams.wait),
    ]);
  }

  stop() {
    this.stopped = true;
    return this.running;
  }

  #failed(error) {
    const code = error?.code ?? error?.message ?? String(error);
    this.errors.set(code, (this.errors.get(code) ?? 0) + 1);
  }

  #apis() {
    return this.site.of('api').map((place) => place.running.url);
  }

  #pause(ms) {
    return new Promise((resolve) => setTimeout(resolve, ms * (0.5 + this.random.next())));
  }

  async #call(method, request, ms = patience) {
    const url = this.random.of(this.#apis());
    const response = await fetch(`${url}/holdfast.v1.PushService/${method}`, {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(request), signal: AbortSignal.timeout(ms),
    });
    const body = await response.json();
    if (response.status !== 200) throw Object.assign(new Error(body.message), { code: body.code });
    return body;
  }

  /** Pushes until it is answered, with a dedup_id; several ahead of their answers, on one stream. */
  async #streamed(stream) {
    const waiting = []; // numbers without an answer, in order
    for (let turn = 0; !this.stopped || waiting.length > 0; turn += 1) {
      const apis = this.#apis();
      let heard = performance.now();
      const call = new Stream(apis[turn % apis.length], 'PushService/PushStream', () => {
        heard = performance.now();
        stream.acked.set(waiting.shift(), this.site.now());
      });
      let over = false;
      call.ended.then((error) => {
        over = true;
        this.#failed(error ?? 'ended');
        if (error?.code === 'aborted') stream.unsure.add(waiting.shift());
      });
      const send = (n) => call.send(stream.request(n, { dedupId: `${this.run} ${stream.name} ${n}` }));
      for (const n of waiting) send(n);
      while (!over && !(this.stopped && waiting.length === 0)) {
        if (waiting.length === 0) heard = performance.now();
        if (performance.now() - heard > patience) call.abandon();
        if (waiting.length < 8 && !this.stopped) {
          const n = stream.next(this.site.now());
          waiting.push(n);
          send(n);
        }
        await this.#pause(30);
      }
      call.abandon();
      await this.#pause(50);
    }
  }

  /** Pushes until it is answered, with a dedup_id, one after the other. */
  async #repeated(stream, ms) {
    while (!this.stopped) {
      const n = stream.next(this.site.now());
      for (let answered = false; !answered; ) {
        try {
          await this.#call('Push', stream.request(n, { dedupId: `${this.run} ${stream.name} ${n}` }));
          stream.acked.set(n, this.site.now());
          answered = true;
        } catch (error) {
          this.#failed(error);
          if (error.code === 'aborted') answered = stream.unsure.add(n);
          else await this.#pause(100);
        }
      }
      await this.#pause(ms);
    }
  }

  /** Pushes once, and never again what was not answered. */
  async #once(stream, ms) {
    while (!this.stopped) {
      const n = stream.next(this.site.now());
      await this.#call('Push', stream.request(n), 2000).then(
        () => stream.acked.set(n, this.site.now()),
        (error) => (stream.unsure.add(n), this.#failed(error)),
      );
      await this.#pause(ms);
    }
  }

  /** Asks everybody in a room. Whoever is said to have answered must have been asked. */
  async #waited(stream) {
    while (!this.stopped) {
      const n = stream.next(this.site.now());
      const request = { targets: stream.to, event: 'wait', payload: { json: `[${n}]` }, ackTimeout: '2s' };
      const wait = { n, at: this.site.now() };
      this.waits.push(wait);
      await this.#call('PushAndWait', request).then(
        (answer) => (wait.acks = answer.acks ?? []),
        (error) => this.#failed(error),
      );
      await this.#pause(700);
    }
  }

  /** An Api of some ws-api, for calls that are no pushes. */
  any() {
    return new Api(this.random.of(this.#apis()));
  }
}
