// A real Kafka broker: the one that HOLDFAST_E2E_KAFKA names, which scripts/test
// starts for all test files, else one for this file. Clusters differ by their prefix.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startProcess } from './process.mjs';

const script = join(dirname(fileURLToPath(import.meta.url)), '../../../scripts/servers');

let running;

/** The broker's address. One that was started here ends with the process. */
export async function kafkaAddress() {
  if (process.env.HOLDFAST_E2E_KAFKA) return process.env.HOLDFAST_E2E_KAFKA;
  running ??= startKafka();
  const kafka = await running;
  kafka.unref();
  return kafka.address;
}

async function startKafka() {
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-kafka-'));
  process.once('exit', () => rmSync(dir, { recursive: true, force: true }));
  const server = await startProcess(script, ['run', 'kafka', '--dir', dir], (output) =>
    output.includes('Kafka Server started') && /^kafka at (\S+)/m.exec(output), 180_000);
  return { address: server.ready[1], unref: server.unref };
}
