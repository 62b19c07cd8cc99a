// What is done to a site while it works. One process at a time is dead or stands still;
// links may be bad beside that.

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** How often each fault is chosen, compared to the others. */
export const usual = {
  'kill gateway': 3, 'kill api': 3, 'stop gateway': 2, 'stop api': 2, 'end gateway': 1, 'end api': 1,
  'cut door': 2, 'stall door': 2, 'cut mesh': 2, 'stall mesh': 2, 'cut redis': 3, 'stall redis': 3,
  'strand redis': 2, 'cut kafka': 3, 'stall kafka': 3, 'strand kafka': 1, 'cut backend': 1, 'slow backend': 1, 'drop people': 4, 'move people': 2,
  'kill redis server': 1, 'stop redis server': 1, flush: 0,
};

export class Faults {
  done = []; // {at, until, what}
  #struck = null; // the process that is dead or stands still
  #running = new Set();

  constructor(site, random, { people, recorder, weights = usual }) {
    Object.assign(this, { site, random, people, recorder });
    this.weights = { ...weights };
    if (site.bus !== 'kafka') for (const kind of Object.keys(weights)) if (kind.endsWith('kafka')) this.weights[kind] = 0;
  }

  /** Makes faults for so long, and waits until the last one is over. */
  async run(ms) {
    for (const end = performance.now() + ms; performance.now() < end; ) {
      await pause(this.random.between(200, 1500));
      const kind = this.random.weighted(this.weights);
      const fault = this.#choose(kind);
      if (!fault) continue;
      const entry = { at: this.site.now(), what: fault.what, kind };
      this.done.push(entry);
      this.site.say(fault.what);
      const running = fault.act().catch((error) => this.site.violations.push(`${fault.what}: ${error.stack}`)).then(() => {
        entry.until = this.site.now();
        this.site.say(`over: ${fault.what}`);
        this.#running.delete(running);
      });
      this.#running.add(running);
    }
    await Promise.all(this.#running);
  }

  /** What to do, or null if that cannot be now. All random choices are made here. */
  #choose(kind) {
    const { random, site } = this;
    const [act, object] = kind.split(' ');
    const ms = Math.round(random.between(500, random.next() < 0.3 ? 12_000 : 4_000));
    switch (object) {
      case 'gateway':
      case 'api':
        return this.#strike(act, random.of(site.of(object)), ms);
      case 'door':
      case 'mesh':
      case 'redis':
      case 'kafka':
        if (kind.endsWith('server')) break;
        return this.#spoil(act, object, random.of(site.processes.filter((p) => p[object])), ms);
      case 'backend':
        return act === 'cut' ? { what: 'the backend is cut off', act: async () => site.backendLink.cut() } : this.#slow(ms);
      case 'people':
        return this.#scatter(act);
      default:
    }
    if (kind.endsWith('redis server')) return this.#redis(act, Math.min(ms, 8000));
    if (kind === 'flush') return this.#flush();
    throw new Error(`what is "${kind}"?`);
  }

  #strike(act, place, ms) {
    if (this.#struck) return null;
    this.#struck = place;
    const free = () => (this.#struck = null);
    if (act === 'stop') {
      return {
        what: `${place.identity} stands still for ${ms} ms`,
        act: async () => {
          process.kill(place.running.pid, 'SIGSTOP');
          await pause(ms);
          process.kill(place.running.pid, 'SIGCONT');
          await pause(1000);
          free();
        },
      };
    }
    const after = this.random.next() < 0.5 ? 0 : Math.min(ms, 4000);
    const signal = act === 'kill' ? 'SIGKILL' : 'SIGTERM';
    return {
      what: `${place.identity} gets ${signal}, and comes back after ${after} ms`,
      act: async () => {
        const { code } = await this.site.end(place, signal);
        if (act === 'end' && code !== 0) this.site.violations.push(`${place.identity} ended with ${code}:\n${place.running.output().slice(-2000)}`);
        await pause(after);
        await this.site.run(place);
        await pause(1000);
        free();
      },
    };
  }

  #spoil(act, name, place, ms) {
    const link = place[name];
    if (link.spoilt) return null;
    link.spoilt = true;
    const of = `${name} link of ${place.identity}`;
    const directions = this.random.of([['up'], ['down'], ['up', 'down'], ['up', 'down']]);
    const cutAfter = this.random.next() < 0.4;
    if (act === 'cut') return { what: `cut: the ${of}`, act: async () => (link.cut(), (link.spoilt = false)) };
    return {
      what: `${act === 'strand' ? 'stranded' : 'stalled'} for ${ms} ms ${directions.join(' and ')}${cutAfter ? ', then cut' : ''}: the ${of}`,
      act: async () => {
        if (act === 'strand') link.strand(directions);
        else link.stall(directions);
        await pause(ms);
        if (cutAfter) link.cut();
        link.resume();
        link.spoilt = false;
      },
    };
  }

  #slow(ms) {
    if (this.recorder.slow) return null;
    this.recorder.slow = 1500;
    return { what: `the backend is slow for ${ms} ms`, act: async () => (await pause(ms), (this.recorder.slow = 0)) };
  }

  /** Some people lose their connections, or are sent elsewhere by a backend. */
  #scatter(act) {
    const some = this.people.filter(() => this.random.next() < 0.4);
    if (some.length === 0) return null;
    return {
      what: `${act === 'drop' ? 'lose their connections' : 'are closed by a backend'}: ${some.map((p) => p.name)}`,
      act: async () => {
        for (const person of some) {
          if (act === 'drop') person.drop();
          else await this.site.pushers.any().disconnect({ user: person.name }, { allowReconnect: true }).catch(() => {});
        }
      },
    };
  }

  #redis(act, ms) {
    const { site } = this;
    if (this.redisStruck) return null;
    this.redisStruck = true;
    const kill = act === 'kill';
    return {
      what: kill ? `Redis is killed, and comes back after ${ms} ms` : `Redis stands still for ${ms} ms`,
      act: async () => {
        if (kill) await site.redisServer.stop('SIGKILL');
        else process.kill(site.redisServer.pid, 'SIGSTOP');
        await pause(ms);
        if (kill) await site.startRedis();
        else process.kill(site.redisServer.pid, 'SIGCONT');
        this.redisStruck = false;
      },
    };
  }

  #flush() {
    return { what: 'Redis loses its data', act: async () => this.site.command('FLUSHALL') };
  }
}
