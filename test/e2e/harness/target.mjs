// What the suite runs against. `holdfast` is the real thing. `node` is the
// reference: Socket.IO's own server behind a thin copy of ws-api. A case that
// passes there and fails on holdfast shows a fault of holdfast, not of the case.
//
// HOLDFAST_E2E_CLUSTER, redis or kafka, makes holdfast a cluster on that bus: three
// gateways and two ws-api behind a balancer that sends each request to the next one.
//
// HOLDFAST_E2E_ENGINE is holdfast's `engine`: epoll or goroutines.

export const target = process.env.HOLDFAST_E2E_TARGET ?? 'holdfast';

if (!['holdfast', 'node'].includes(target)) {
  throw new Error(`HOLDFAST_E2E_TARGET is "${target}"; it must be "holdfast" or "node"`);
}

export const onHoldfast = target === 'holdfast';

/** The bus of the cluster, '' when it is one process. */
export const cluster = process.env.HOLDFAST_E2E_CLUSTER ?? '';

if (!['', 'redis', 'kafka'].includes(cluster) || (cluster && !onHoldfast)) {
  throw new Error(`HOLDFAST_E2E_CLUSTER is "${cluster}"; it must be "redis" or "kafka", with holdfast as the target`);
}

/** What serves the connections: epoll, goroutines, or '' for the default. */
export const engine = process.env.HOLDFAST_E2E_ENGINE ?? '';

/** Options for a case that the reference server cannot answer; `why` says what it lacks. */
export function holdfastOnly(why) {
  return onHoldfast ? {} : { skip: `the reference server cannot: ${why}` };
}

/** Options for a case about one process; `why` says what is different in a cluster. */
export function oneProcessOnly(why) {
  return cluster ? { skip: `not of a cluster: ${why}` } : {};
}
