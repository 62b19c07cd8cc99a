// A real redis-server on a free port, one for each test file: node runs each of them
// in a process of its own. Clusters within a file differ by their prefix.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startProcess } from './process.mjs';

let running;

/** The address of this file's Redis, which ends with the process. */
export async function redisAddress() {
  running ??= startRedis();
  const redis = await running;
  redis.unref();
  return redis.address;
}

/**
 * Starts a redis-server that keeps its data in memory alone, unless `args`, as on its
 * command line, say otherwise.
 */
export async function startRedis(args = []) {
  try {
    execFileSync('redis-server', ['--version']);
  } catch (error) {
    throw new Error(`redis-server is missing: install Debian's package redis-server (${error.message})`);
  }
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-redis-'));
  process.once('exit', () => rmSync(dir, { recursive: true, force: true }));
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const flags = ['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'no', '--daemonize', 'no', ...args];
    try {
      const server = await startProcess('redis-server', flags, (output) => output.includes('Ready to accept connections'));
      return { address: `127.0.0.1:${port}`, stop: server.stop, unref: server.unref };
    } catch (error) {
      if (attempt === 5) throw error; // somebody else may have taken the port meanwhile
    }
  }
}

/** Carries out one command and returns what redis-cli prints. */
export function redisCommand(address, ...args) {
  const [host, port] = address.split(':');
  return execFileSync('redis-cli', ['-h', host, '-p', port, ...args], { encoding: 'utf8' }).trim();
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}
