// Starts and stops one server: `holdfast dev`, a cluster of holdfast processes, or
// the reference server, which takes the same config and prints its addresses in the
// same way.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { holdfastBinary } from './binary.mjs';
import { startCluster } from './cluster.mjs';
import { writeConfig } from './config_file.mjs';
import { startProcess } from './process.mjs';
import { cluster, engine, onHoldfast } from './target.mjs';

const here = dirname(fileURLToPath(import.meta.url));

/**
 * Starts a server on free ports.
 * @param {object|null} config null: no config file at all
 * @returns {Promise<{url: string, api: string, output: () => string,
 *   stop: (signal?: string) => Promise<{code: number|null, signal: string|null}>}>}
 */
export function startGateway(config) {
  const wanted = engine && config ? { engine, ...config } : config;
  return cluster ? startCluster(wanted ?? {}) : startOne(wanted);
}

async function startOne(config) {
  const file = config ? writeConfig(config) : null;
  const flags = [...(file ? ['--config', file.path] : []), '--listen', '127.0.0.1:0', '--api', '127.0.0.1:0'];
  const [command, args] = onHoldfast
    ? [holdfastBinary(), ['dev', ...flags]]
    : [process.execPath, [join(here, 'reference_server.mjs'), ...flags]];
  const server = await startProcess(command, args, (output) => {
    const found = printedAddresses(output);
    return found.length >= 2 && found;
  });
  async function stop(signal) {
    const ended = await server.stop(signal);
    file?.remove();
    return ended;
  }
  try {
    return { ...(await tellApart(server.ready)), output: server.output, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** All http(s)://host:port in a text, each once, in the order of their first appearance. */
export function printedAddresses(text) {
  return [...new Set(text.match(/https?:\/\/[\w.[\]-]+:\d+(?=[\s/"',]|$)/g) ?? [])];
}

/** The API is the one that answers /metrics, be it that it wants a token. */
async function tellApart(addresses) {
  const answers = await Promise.all(
    addresses.map(async (address) => {
      const response = await fetch(`${address}/metrics`).catch(() => null);
      await response?.arrayBuffer();
      return response?.status === 200 || response?.status === 401;
    }),
  );
  const api = addresses[answers.indexOf(true)];
  const url = addresses.find((_, i) => !answers[i]);
  if (!api || !url) throw new Error(`cannot tell the clients' address from the API's among ${addresses.join(', ')}`);
  return { url, api };
}
