// Starts and stops one server process: `holdfast dev`, or the reference server,
// which takes the same config and prints its addresses in the same way.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { holdfastBinary, plainEnvironment } from './binary.mjs';
import { writeConfig } from './config_file.mjs';
import { onHoldfast } from './target.mjs';
import { within } from './wait.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const startLimit = 20_000;

/**
 * Starts a server on free ports.
 * @param {object|null} config null: no config file at all
 * @returns {Promise<{url: string, api: string, pid: number, output: () => string,
 *   stop: (signal?: string) => Promise<{code: number|null, signal: string|null}>}>}
 */
export async function startGateway(config) {
  const file = config ? writeConfig(config) : null;
  const flags = [...(file ? ['--config', file.path] : []), '--listen', '127.0.0.1:0', '--api', '127.0.0.1:0'];
  const [command, args] = onHoldfast
    ? [holdfastBinary(), ['dev', ...flags]]
    : [process.execPath, [join(here, 'reference_server.mjs'), ...flags]];
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: plainEnvironment });
  let output = '';
  const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }));
  const onExit = () => child.kill('SIGKILL');
  process.once('exit', onExit);

  async function stop(signal = 'SIGKILL') {
    child.kill(signal);
    const gentle = await Promise.race([exited, new Promise((r) => setTimeout(r, 30_000, null).unref())]);
    if (!gentle) child.kill('SIGKILL');
    process.removeListener('exit', onExit);
    file?.remove();
    return gentle ?? { ...(await exited), signal: `SIGKILL, ${signal} did not end it` };
  }

  const addresses = new Promise((resolve, reject) => {
    const look = (chunk) => {
      output += chunk;
      const found = printedAddresses(output);
      if (found.length >= 2) resolve(found);
    };
    child.stdout.setEncoding('utf8').on('data', look);
    child.stderr.setEncoding('utf8').on('data', look);
    child.on('error', reject);
    exited.then(({ code, signal }) => reject(new Error(`the server ended (code ${code}, signal ${signal}) and printed:\n${output}`)));
  });
  try {
    const { url, api } = await tellApart(await within(startLimit, addresses, () => `no addresses printed; output:\n${output}`));
    return { url, api, pid: child.pid, output: () => output, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** All http(s)://host:port in a text, each once, in the order of their first appearance. */
export function printedAddresses(text) {
  return [...new Set(text.match(/https?:\/\/[\w.[\]-]+:\d+(?=[\s/"',]|$)/g) ?? [])];
}

/** The API is the one that answers /metrics. */
async function tellApart(addresses) {
  const answers = await Promise.all(
    addresses.map(async (address) => {
      const response = await fetch(`${address}/metrics`).catch(() => null);
      await response?.arrayBuffer();
      return response?.status === 200;
    }),
  );
  const api = addresses[answers.indexOf(true)];
  const url = addresses.find((_, i) => !answers[i]);
  if (!api || !url) throw new Error(`cannot tell the clients' address from the API's among ${addresses.join(', ')}`);
  return { url, api };
}
