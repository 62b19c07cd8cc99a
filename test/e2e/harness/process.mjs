// One child process that prints where it can be reached.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { plainEnvironment } from './binary.mjs';
import { within } from './wait.mjs';

const defaultStart = 20_000;

/** What is to be killed when this process ends, whatever it ends of. */
const children = new Set();
process.once('exit', () => children.forEach((child) => child.kill('SIGKILL')));

/**
 * Starts a process and waits until `ready(output)` returns something truthy.
 * @param {string} command
 * @param {string[]} args
 * @param {(output: string) => any} ready looks at all that was printed so far
 * @param {number} [limit] how long that may take, in ms
 * @returns {Promise<{pid: number, ready: any, output: () => string, exited: Promise<{code: number|null, signal: string|null}>,
 *   stop: (signal?: string) => Promise<{code: number|null, signal: string|null}>,
 *   unref: () => void}>} unref() lets this process end although the child runs, which kills it then
 */
export async function startProcess(command, args, ready, limit = defaultStart) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: plainEnvironment });
  let output = '';
  const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }));
  children.add(child);

  async function stop(signal = 'SIGKILL') {
    child.kill(signal);
    const gentle = await Promise.race([exited, new Promise((r) => setTimeout(r, 30_000, null).unref())]);
    if (!gentle) child.kill('SIGKILL');
    children.delete(child);
    return gentle ?? { ...(await exited), signal: `SIGKILL, ${signal} did not end it` };
  }

  const found = new Promise((resolve, reject) => {
    const look = (chunk) => {
      output += chunk;
      const result = ready(output);
      if (result) resolve(result);
    };
    child.stdout.setEncoding('utf8').on('data', look);
    child.stderr.setEncoding('utf8').on('data', look);
    child.on('error', reject);
    exited.then(({ code, signal }) => reject(new Error(`${command} ended (code ${code}, signal ${signal}) and printed:\n${output}`)));
  });
  try {
    const result = await within(limit, found, () => `${command} ${args.join(' ')} is not up; output:\n${output}`);
    const unref = () => [child, child.stdout, child.stderr].forEach((handle) => handle.unref());
    return { pid: child.pid, ready: result, output: () => output, exited, stop, unref };
  } catch (error) {
    await stop();
    throw error;
  }
}
