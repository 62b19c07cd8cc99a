// A cluster: gateways and ws-api as processes of their own over one Redis, with that
// or Kafka as the bus, and a balancer before each kind.
import { holdfastBinary } from './binary.mjs';
import { Balancer } from './balancer.mjs';
import { writeConfig } from './config_file.mjs';
import { kafkaAddress } from './kafka.mjs';
import { startProcess } from './process.mjs';
import { redisAddress, redisCommand } from './redis.mjs';
import { cluster as chosenBus } from './target.mjs';

let clusters = 0;

/** What `holdfast dev` has by default and other commands have not. */
const asInDev = {
  recovery: { enabled: true },
  presence: { enabled: true },
  drain: { pause: '0s', rate: 0, timeout: '10s' },
};

/**
 * Starts a cluster whose processes all have the given config, with the bus of the
 * suite's run unless the config names one.
 * @param {object} config
 * @param {{gateways?: number, apis?: number, redis?: string}} [size]
 */
export async function startCluster(config, { gateways = 3, apis = 2, redis } = {}) {
  const cluster = new Cluster();
  cluster.redis = redis ?? (await redisAddress());
  cluster.prefix = `e2e-${process.pid}-${(clusters += 1)}`;
  cluster.bus =
    config.bus ??
    (chosenBus === 'kafka'
      ? { kind: 'kafka', brokers: [await kafkaAddress()], prefix: cluster.prefix, partitions: 8 }
      : { kind: 'redis' });
  cluster.config = { ...asInDev, ...config, auth: { anonymous: true, ...config.auth } };
  // A registry that was found empty gives out no worker numbers for the 8 s in which
  // older holders may come back. This one was found a long time ago.
  redisCommand(cluster.redis, 'HSET', `${cluster.prefix}:{workers}:state`, 'since', '1');
  try {
    const [nodes, calls] = await Promise.all([
      Promise.all([...Array(gateways).keys()].map((i) => cluster.startNode('gateway', `gw-${i}`))),
      Promise.all([...Array(apis).keys()].map((i) => cluster.startNode('api', `api-${i}`))),
    ]);
    cluster.gateways = nodes;
    cluster.apis = calls;
    cluster.clients = await Balancer.start(nodes.map((n) => n.url));
    cluster.backends = await Balancer.start(calls.map((n) => n.url));
    cluster.url = cluster.clients.url;
    cluster.api = cluster.backends.url;
    return cluster;
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

class Cluster {
  #all = [];

  /** Starts one more process, `gateway` or `api`; the balancers do not know it yet. */
  async startNode(kind, identity) {
    const file = writeConfig({
      ...this.config,
      listen: '127.0.0.1:0',
      api_listen: '127.0.0.1:0',
      node: { listen: '127.0.0.1:0', identity, secret: 'the secret of the tests' },
      store: { kind: 'redis', addrs: [this.redis], prefix: this.prefix },
      bus: this.bus,
    });
    try {
      const wanted = kind === 'gateway' ? /^clients +(\S+)\nmetrics +(\S+)\n/m : /^api +(\S+)\n/m;
      const node = await startProcess(holdfastBinary(), [kind, '--config', file.path], (output) => wanted.exec(output));
      node.identity = identity;
      node.url = node.ready[1];
      node.kind = kind;
      this.#all.push(node);
      return node;
    } finally {
      file.remove(); // it is read at the start only
    }
  }

  /** Starts a process in place of one that has ended, at another port, and tells the balancer. */
  async replace(old) {
    const node = await this.startNode(old.kind, old.identity);
    const [list, balancer] = old.kind === 'gateway' ? [this.gateways, this.clients] : [this.apis, this.backends];
    list[list.indexOf(old)] = node;
    balancer.replace(old.url, node.url);
    return node;
  }

  output() {
    return this.#all.map((node) => `--- ${node.identity}\n${node.output()}`).join('');
  }

  /** Stops all processes; tells of the first that did not end as it should. */
  async stop(signal) {
    const ends = await Promise.all(this.#all.splice(0).map((node) => node.stop(signal)));
    this.clients?.stop();
    this.backends?.stop();
    return ends.find(({ code }) => code !== 0) ?? ends[0];
  }
}
