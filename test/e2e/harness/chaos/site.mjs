// A cluster in which everything that talks to something else does so over a link that
// can be made bad, and whose processes are started again when they have ended.
import { mkdtempSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Balancer } from '../balancer.mjs';
import { holdfastBinary } from '../binary.mjs';
import { writeConfig } from '../config_file.mjs';
import { Link } from '../link.mjs';
import { startProcess } from '../process.mjs';
import { redisCommand } from '../redis.mjs';

const servers = join(dirname(fileURLToPath(import.meta.url)), '../../../../scripts/servers');
const names = { gateway: ['gw-0', 'gw-1', 'gw-2'], api: ['api-0', 'api-1'] };

export class Site {
  processes = []; // gateways, then ws-apis
  outputs = []; // of all that ever ran: {identity, output()}
  violations = []; // of processes that ended by themselves
  #dirs = [];

  /** `say(text)` notes what happens; `config` is for all processes; `bus` is redis or kafka. */
  static async start({ bus, config, backend, say }) {
    const site = new Site();
    Object.assign(site, { bus, say, config, started: performance.now() });
    try {
      await site.startRedis();
      // A registry that is found empty gives out no worker numbers for the 8 s in which older
      // holders may come back. This one was found a long time ago.
      redisCommand(site.redis, 'HSET', 'ws:{workers}:state', 'since', '1');
      if (bus === 'kafka') await site.#startKafka();
      site.backendLink = await Link.start(new URL(backend).host);
      for (const kind of ['gateway', 'api']) for (const identity of names[kind]) site.processes.push(await site.#place(kind, identity));
      await Promise.all(site.processes.map((process) => site.run(process)));
      site.clients = await Balancer.start(site.of('gateway').map((p) => `http://${p.door.address}`));
      site.url = site.clients.url;
      site.backends = await Balancer.start(site.of('api').map((p) => p.running.url));
      site.api = site.backends.url;
      return site;
    } catch (error) {
      await site.stop();
      throw error;
    }
  }

  of(kind) {
    return this.processes.filter((process) => process.kind === kind);
  }

  // --- Redis and Kafka ---

  /** Starts Redis where it was before. What it has acknowledged is on the disk. */
  async startRedis() {
    this.redisPort ??= await freePort();
    this.redisDir ??= this.#dir('redis');
    this.redis = `127.0.0.1:${this.redisPort}`;
    const flags = ['--port', String(this.redisPort), '--bind', '127.0.0.1', '--dir', this.redisDir, '--save', '', '--appendonly', 'yes', '--appendfsync', 'always'];
    this.redisServer = await startProcess('redis-server', flags, (output) => output.includes('Ready to accept connections'));
  }

  async #startKafka() {
    const ports = { PLAINTEXT: await freePort() };
    this.kafkaLinks = {};
    for (const identity of Object.values(names).flat()) {
      const name = identity.toUpperCase().replace('-', '');
      ports[name] = await freePort();
      this.kafkaLinks[identity] = await Link.start(`127.0.0.1:${ports[name]}`);
    }
    const linkOf = (name) => Object.entries(this.kafkaLinks).find(([identity]) => identity.toUpperCase().replace('-', '') === name)?.[1].address;
    const controller = await freePort();
    const lines = [
      `controller.quorum.voters=1@127.0.0.1:${controller}`,
      `listeners=${Object.entries(ports).map(([name, port]) => `${name}://127.0.0.1:${port}`).join(',')},CONTROLLER://127.0.0.1:${controller}`,
      `advertised.listeners=${Object.entries(ports).map(([name, port]) => `${name}://${linkOf(name) ?? `127.0.0.1:${port}`}`).join(',')}`,
      `listener.security.protocol.map=${[...Object.keys(ports), 'CONTROLLER'].map((name) => `${name}:PLAINTEXT`).join(',')}`,
      'inter.broker.listener.name=PLAINTEXT',
    ];
    const args = ['run', 'kafka', '--dir', this.#dir('kafka'), '--port', String(ports.PLAINTEXT), '--', ...lines];
    this.kafka = await startProcess(servers, args, (output) => output.includes('Kafka Server started'), 180_000);
  }

  // --- Processes ---

  /** What stays of a process when it ends: its identity, and the links to and from it. */
  async #place(kind, identity) {
    const place = { kind, identity, redis: await Link.start(this.redis) };
    if (kind === 'gateway') Object.assign(place, { door: await Link.start(), mesh: await Link.start(), meshPort: await freePort() });
    if (kind === 'gateway') place.mesh.target = `127.0.0.1:${place.meshPort}`;
    if (this.bus === 'kafka') place.kafka = this.kafkaLinks[identity];
    place.links = ['door', 'mesh', 'redis', 'kafka'].filter((name) => place[name]);
    return place;
  }

  /** Starts the process of a place, again and again until it stays, as an orchestrator does. */
  async run(place) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#runOnce(place);
      } catch (error) {
        this.say(`${place.identity} did not start: ${error.message.split('\n').slice(-3).join(' ').slice(-300)}`);
        if (attempt === 20 || this.stopped) throw error;
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    }
  }

  async #runOnce(place) {
    const file = writeConfig({
      ...this.config(this),
      listen: '127.0.0.1:0',
      api_listen: '127.0.0.1:0',
      node: {
        identity: place.identity, secret: 'the secret of the tests',
        ...(place.mesh ? { listen: `127.0.0.1:${place.meshPort}`, advertise: place.mesh.address } : {}),
      },
      store: { kind: 'redis', addrs: [place.redis.address] },
      bus: this.bus === 'kafka' ? { kind: 'kafka', brokers: [place.kafka.address], partitions: 8 } : { kind: 'redis' },
    });
    const wanted = place.kind === 'gateway' ? /^clients +(\S+)\nmetrics +(\S+)\n/m : /^api +(\S+)\n/m;
    const running = await startProcess(holdfastBinary(), [place.kind, '--config', file.path], (output) => wanted.exec(output), 40_000).finally(() => file.remove());
    running.url = running.ready[1];
    running.metrics = running.ready[2] ?? running.ready[1];
    running.since = performance.now();
    this.outputs.push({ identity: `${place.identity} ${running.pid}`, output: running.output });
    running.exited.then(({ code, signal }) => {
      this.say(`${place.identity} ended: code ${code}, signal ${signal}`);
      if (!running.ending) this.violations.push(`${place.identity} ended by itself: code ${code}, signal ${signal}\n${running.output().slice(-3000)}`);
    });
    if (place.door) place.door.target = new URL(running.url).host;
    else if (this.backends && place.running) this.backends.replace(place.running.url, running.url);
    place.running = running;
    this.say(`${place.identity} runs as ${running.pid}`);
    return running;
  }

  /** Ends the process of a place, by SIGKILL or SIGTERM. */
  async end(place, signal) {
    place.running.ending = true;
    return place.running.stop(signal);
  }

  metrics(place) {
    return fetch(`${place.running.metrics}/metrics`, { signal: AbortSignal.timeout(5000) }).then((r) => r.text());
  }

  // --- The end ---

  #dir(name) {
    const dir = mkdtempSync(join(tmpdir(), `holdfast-chaos-${name}-`));
    this.#dirs.push(dir);
    return dir;
  }

  async stop() {
    this.stopped = true;
    this.clients?.stop();
    this.backends?.stop();
    await Promise.all(this.processes.map((p) => p.running && this.end(p, 'SIGKILL')));
    for (const place of this.processes) for (const name of place.links) place[name].stop();
    for (const link of Object.values(this.kafkaLinks ?? {})) link.stop();
    this.backendLink?.stop();
    await this.kafka?.stop();
    await this.redisServer?.stop();
    for (const dir of this.#dirs) rmSync(dir, { recursive: true, force: true });
  }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}
