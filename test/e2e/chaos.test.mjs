// Everything that the design promises, while processes die and stand still, connections
// break and stall, Redis goes and comes. What goes wrong, when and where follows from a
// seed; a failure names it, and leaves a log.
//
// HOLDFAST_CHAOS_SEEDS ("7", "1-20") are the runs, HOLDFAST_CHAOS_SECONDS is how long each
// has faults, HOLDFAST_CHAOS_FAULTS the kinds ("kill gateway,stall redis") or all of them.
import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Faults, usual } from './harness/chaos/faults.mjs';
import { Person } from './harness/chaos/people.mjs';
import { Pushers } from './harness/chaos/pushers.mjs';
import { Random } from './harness/chaos/random.mjs';
import { Recorder } from './harness/chaos/recorder.mjs';
import { Site } from './harness/chaos/site.mjs';
import { overfull, present, pushed, recorded, relayed, waited } from './harness/chaos/verdict.mjs';
import { Api } from './harness/api.mjs';
import { combinations } from './harness/clients.mjs';
import { redisCommand } from './harness/redis.mjs';
import { cluster, holdfastOnly } from './harness/target.mjs';
import { eventually } from './harness/wait.mjs';

const seconds = Number(process.env.HOLDFAST_CHAOS_SECONDS ?? 20);
const [first, last] = (process.env.HOLDFAST_CHAOS_SEEDS ?? '1').split('-').map(Number);
const chosen = process.env.HOLDFAST_CHAOS_FAULTS?.split(',');
const bus = cluster || 'redis';
const heals = 20_000;
const arrives = 60_000; // an event that was lent to another ws-api, and lost, is given again after 45 s

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** One run; `lines` gets what happens, `notes` what may be of interest. */
class Run {
  lines = [];
  notes = [];
  wrong = [];

  constructor(seed) {
    this.seed = seed;
    this.random = new Random(seed);
    this.began = performance.now();
    this.now = () => Math.round(performance.now() - this.began);
    this.say = (text) => this.lines.push(`${(this.now() / 1000).toFixed(3)} ${text}`);
  }

  async run() {
    try {
      await this.#start();
      await this.faults.run(seconds * 1000);
      await this.#settle();
    } finally {
      await this.#stop();
    }
  }

  async #start() {
    const roomsOf = (name) => (Number(name.slice(1)) % 3 === 1 ? ['a', 'b'] : ['a']);
    this.recorder = await Recorder.start(roomsOf, this.now);
    const small = this.random.next() < 0.3;
    this.config = (site) => ({
      auth: { anonymous: true },
      recovery: { enabled: true, ...(small ? {} : { messages: 20_000, bytes: '64MiB' }) },
      presence: { enabled: true, coalesce: '50ms' },
      heartbeat: { interval: '4s', timeout: '4s', floor: '2s', step: '1s' },
      drain: { pause: '300ms', rate: 50, timeout: '10s' },
      backends: { app: { url: `http://${site.backendLink.address}`, timeout: '5s' } },
      routes: [
        { type: 'connect', backend: 'app' },
        { type: 'disconnect', backend: 'app' },
        { event: 'kept', backend: 'app', ack: 'durable' },
        { event: 'asked', backend: 'app', ack: 'backend' },
        { event: 'said', relay: 'others', ack: 'durable' },
      ],
      log: { level: 'info', format: 'text' },
    });
    const { say, config } = this;
    this.site = await Site.start({ bus, config, say, backend: this.recorder.backend.url });
    this.site.now = this.now;
    this.site.command = (...args) => redisCommand(this.site.redis, ...args);
    this.pushers = new Pushers(this.site, new Random(this.seed + 1000), `run ${this.seed}`);
    this.site.pushers = this.pushers;
    this.recorder.subscribe(this.site);
    const kinds = [...combinations, ...combinations.filter((c) => c.version === 4), { version: 4, transport: 'websocket', msgpack: true }];
    this.people = kinds.map((kind, i) => new Person(this.site, this.pushers.streams, { ...kind, name: `p${i}`, rooms: roomsOf(`p${i}`) }));
    await eventually(() => this.people.every((p) => p.client.connected), 'not everybody gets in', 30_000);
    this.pushers.start();
    this.emitting = Promise.all(this.people.map((person) => this.#emit(person)));
    this.watching = this.#watch();
    this.weights = chosen ? Object.fromEntries(chosen.map((kind) => [kind, usual[kind] || 1])) : usual;
    this.faults = new Faults(this.site, this.random, { people: this.people, recorder: this.recorder, weights: this.weights });
  }

  async #emit(person) {
    const random = new Random(this.seed * 100 + Number(person.name.slice(1)));
    while (!this.quiet) {
      // What goes to several rooms is known again among the last 64 such only.
      person.emit(random.of(person.rooms.length === 1 ? ['kept', 'asked', 'said'] : ['kept', 'asked']));
      await pause(random.between(50, 200));
    }
  }

  /** Looks at the queues of all processes now and then. */
  async #watch() {
    while (!this.quiet) {
      for (const place of this.site.processes) {
        const text = await this.site.metrics(place).catch(() => '');
        for (const what of overfull(text)) this.wrong.push(`${place.identity} has ${what}`);
      }
      await pause(1000);
    }
  }

  async #settle() {
    const { site, people, pushers, recorder } = this;
    this.say('the faults are over');
    const api = new Api(site.api);
    const over = this.now();
    let why;
    const there = async () => (why = await present(api, people, ['a', 'b']).catch((error) => error.message)) === null;
    await eventually(there, 'not there', heals).then(() => this.notes.push(`all are there after ${this.now() - over} ms`), () => this.wrong.push(`after ${heals} ms: ${why}`));
    await pause(1000);
    this.quiet = true;
    await pushers.stop();
    await Promise.all([this.emitting, this.watching]);
    this.say('nothing is sent any more');

    const flushes = this.faults.done.filter((f) => f.kind === 'flush').map((f) => f.at);
    const cut = this.faults.done.filter((f) => f.kind === 'cut backend').map((f) => f.at);
    // The backend's connection broke while it may have been asked.
    const excused = (s) => cut.some((at) => s.at < at && s.acked > at - 12_000) || cut.some((at) => Math.abs(s.acked - at) < 12_000);
    const facts = { people, pushers, recorder, flushes, excused };
    const judge = () => [...pushed(facts), ...relayed(facts), ...recorded(facts), ...waited(facts)];
    await eventually(() => judge().length === 0, 'wrong', arrives).catch(() => {});
    this.wrong.push(...judge(), ...people.flatMap((p) => p.problems.map((what) => `${p.name}: ${what}`)));

    for (const p of people.filter((person) => person.recovers && person.stays.length > 1)) this.notes.push(`${p.name} (${p.transport}) was not recovered ${p.stays.length - 1} times`);
    const repeats = (list) => list.length - new Set(list.map((e) => e.id)).size;
    this.notes.push(`again: ${repeats(recorder.called)} of ${recorder.called.length} events at the backend, ${repeats(recorder.read)} of ${recorder.read.length} at the group`);
    this.notes.push(`pushed: ${Object.values(pushers.streams).map((s) => `${s.name} ${s.acked.size} of ${s.begun}`).join(', ')}`);
    this.notes.push(`errors of pushes: ${[...pushers.errors].map(([code, n]) => `${code} ${n}`).join(', ')}`);
    this.notes.push(`connections: ${people.map((p) => `${p.name} ${p.connections}/${p.stays.length}`).join(', ')}`);
    await this.#leave(api);
  }

  /** Everybody goes: nobody is known any more, and nothing of them stays. */
  async #leave(api) {
    const { site } = this;
    const numbers = async (when) => {
      for (const place of site.processes) {
        const text = await site.metrics(place).catch(() => '');
        const of = (name) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1] ?? NaN);
        this.notes.push(`${when} ${place.identity}: ${of('go_goroutines')} goroutines, ${(of('go_memstats_heap_inuse_bytes') / 1e6).toFixed(1)} MB`);
      }
    };
    await numbers('before');
    for (const person of this.people) person.close();
    let left;
    const nobody = async () => (left = (await api.countClients({ all: true }).catch(() => ({ clients: NaN }))).clients) === 0;
    await eventually(nobody, 'some', heals).catch(() => this.wrong.push(`${left} clients are known after all have gone`));
    await pause(1000);
    await numbers('after');
    const ends = await Promise.all(site.processes.map((place) => site.end(place, 'SIGTERM')));
    ends.forEach(({ code }, i) => code !== 0 && this.wrong.push(`${site.processes[i].identity} ended with ${code}`));
    const keys = site.command('--raw', 'KEYS', '*').split('\n').filter(Boolean);
    const kept = keys.filter((key) => site.command('--raw', 'TTL', key) === '-1');
    this.notes.push(`keys without an end: ${kept.join(' ')}`);
    // What a node is recorded to hold has an owner: its audit, or its next life, puts it right.
    const stray = kept.filter((key) => /^ws:(guid|user|client|saved|receipt):/.test(key));
    if (stray.length > 0) this.wrong.push(`keys are left over: ${stray.join(' ')}`);
  }

  async #stop() {
    this.quiet = true;
    if (this.pushers) this.pushers.stopped = true;
    for (const person of this.people ?? []) person.close();
    await this.recorder?.stop();
    if (this.site) {
      this.wrong.push(...this.site.violations);
      for (const { identity, output } of this.site.outputs) {
        const text = output();
        for (const word of ['DATA RACE', 'panic:', 'fatal error:']) {
          if (text.includes(word)) this.wrong.push(`${identity} says ${word} ${text.slice(text.indexOf(word), text.indexOf(word) + 3000)}`);
        }
      }
      await this.site.stop();
    }
  }

  report() {
    const people = (this.people ?? []).map((p) => `--- ${p.name} v${p.version} ${p.transport}\n${p.journal.map((c) => `${c.at} ${c.what}`).join('\n')}`);
    const outputs = (this.site?.outputs ?? []).map(({ identity, output }) => `=== ${identity}\n${output()}`);
    return [`seed ${this.seed} on ${bus}`, ...this.wrong.map((w) => `WRONG ${w}`), ...this.notes, ...this.lines, ...people, ...outputs].join('\n');
  }
}

describe('chaos', { ...holdfastOnly('it is one process') }, () => {
  for (let seed = first; seed <= (last ?? first); seed += 1) {
    it(`seed ${seed}`, async (t) => {
      const run = new Run(seed);
      try {
        await run.run();
      } catch (error) {
        run.wrong.push(error.stack);
      }
      for (const note of run.notes) t.diagnostic(note);
      if (process.env.HOLDFAST_CHAOS_LOGS || run.wrong.length > 0) {
        const dir = process.env.HOLDFAST_CHAOS_LOGS ?? mkdtempSync(join(tmpdir(), 'holdfast-chaos-log-'));
        writeFileSync(join(dir, `${bus}-${seed}.log`), run.report());
        t.diagnostic(`log: ${join(dir, `${bus}-${seed}.log`)}`);
      }
      assert.deepEqual(run.wrong.slice(0, 20).map((w) => w.slice(0, 1000)), [], `${run.wrong.length} promises were broken`);
    });
  }
});
