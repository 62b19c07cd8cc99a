// What the suite runs against. `holdfast` is the real thing. `node` is the
// reference: Socket.IO's own server behind a thin copy of ws-api. A case that
// passes there and fails on holdfast shows a fault of holdfast, not of the case.

export const target = process.env.HOLDFAST_E2E_TARGET ?? 'holdfast';

if (!['holdfast', 'node'].includes(target)) {
  throw new Error(`HOLDFAST_E2E_TARGET is "${target}"; it must be "holdfast" or "node"`);
}

export const onHoldfast = target === 'holdfast';

/** Options for a case that the reference server cannot answer; `why` says what it lacks. */
export function holdfastOnly(why) {
  return onHoldfast ? {} : { skip: `the reference server cannot: ${why}` };
}
