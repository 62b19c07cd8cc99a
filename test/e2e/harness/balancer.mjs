// A balancer as unkind as one may be: every request goes to the next server, also
// the next request on a connection that a client keeps open.
import { once } from 'node:events';
import { createServer, request as httpRequest } from 'node:http';
import { connect } from 'node:net';

/** Headers of one connection alone; its two sides have their own. */
const hopByHop = new Set(['connection', 'keep-alive']);

export class Balancer {
  #next = 0;
  #down = new Set();
  #sockets = new Set();

  /** @param {string[]} urls of the servers; watched by their /readyz */
  static async start(urls) {
    const balancer = new Balancer();
    balancer.servers = urls.map((url) => new URL(url));
    // What is too long or no HTTP is for the server to refuse.
    const options = { maxHeaderSize: 1 << 20, insecureHTTPParser: true, requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 60_000 };
    balancer.server = createServer(options, (request, response) => balancer.#pass(request, response));
    balancer.server.on('upgrade', (request, socket, head) => balancer.#tunnel(request, socket, head));
    balancer.server.on('connection', (socket) => balancer.#keep(socket));
    balancer.server.listen(0, '127.0.0.1');
    await once(balancer.server, 'listening');
    balancer.url = `http://127.0.0.1:${balancer.server.address().port}`;
    balancer.watch = setInterval(() => balancer.#look(), 200);
    balancer.watch.unref();
    return balancer;
  }

  /** One server has ended, and another has taken its place. */
  replace(old, url) {
    this.servers[this.servers.findIndex((server) => server.origin === old)] = new URL(url);
  }

  stop() {
    clearInterval(this.watch);
    this.server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #keep(socket) {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {}); // its close follows
  }

  /** Asks each server whether it wants requests. */
  async #look() {
    for (const server of this.servers) {
      const ready = await fetch(new URL('/readyz', server), { signal: AbortSignal.timeout(2000) }).then((r) => r.ok, () => false);
      if (ready) this.#down.delete(server);
      else this.#down.add(server);
    }
  }

  /** The servers in the order in which to try them. */
  #order() {
    const up = this.servers.filter((server) => !this.#down.has(server));
    const list = up.length > 0 ? up : this.servers;
    const first = this.#next++ % list.length;
    return [...list.slice(first), ...list.slice(0, first)];
  }

  /** A connection to the next server that takes one. */
  async #dial() {
    let failed;
    for (const server of this.#order()) {
      const socket = connect(Number(server.port), server.hostname);
      try {
        await once(socket, 'connect');
        this.#keep(socket);
        return socket;
      } catch (error) {
        this.#down.add(server);
        failed = error;
      }
    }
    throw failed;
  }

  async #pass(request, response) {
    const socket = await this.#dial().catch(() => null);
    if (!socket) return response.writeHead(502).end();
    if (response.destroyed) return socket.destroy();
    const headers = withoutHops(request.rawHeaders);
    const options = { method: request.method, path: request.url, headers, createConnection: () => socket, insecureHTTPParser: true };
    const out = httpRequest(options, (answer) => {
      response.writeHead(answer.statusCode, answer.statusMessage, withoutHops(answer.rawHeaders));
      answer.pipe(response);
      answer.on('error', () => response.destroy()); // cut off in the middle
    });
    // The server may have begun with it, so the client is cut off as it would be there.
    out.on('error', () => request.socket.destroy());
    response.on('finish', () => request.unpipe(out).resume()); // what was not sent on must not stand before the next request
    response.on('close', () => response.writableFinished || out.destroy());
    return request.pipe(out);
  }

  async #tunnel(request, socket, head) {
    const out = await this.#dial().catch(() => null);
    if (!out || socket.destroyed) return (out?.destroy(), socket.destroy());
    const lines = [`${request.method} ${request.url} HTTP/1.1`];
    for (let i = 0; i < request.rawHeaders.length; i += 2) lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`);
    out.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
    out.write(head);
    out.on('close', () => socket.destroy());
    socket.on('close', () => out.destroy());
    return out.pipe(socket).pipe(out);
  }
}

function withoutHops(raw) {
  const out = [];
  for (let i = 0; i < raw.length; i += 2) if (!hopByHop.has(raw[i].toLowerCase())) out.push(raw[i], raw[i + 1]);
  return out;
}
