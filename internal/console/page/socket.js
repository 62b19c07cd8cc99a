// The client: the few lines of client.js, or the stock one where the configuration
// has a client_bundle. Both have the same methods, and these three besides.
import { connect } from './client.js';

/** onUpgrade is called when the transport changes while connected. */
export function openSocket({ stock, onUpgrade, ...options }) {
  if (!stock || !globalThis.io) return connect(options);
  const { path, auth, polling } = options;
  const socket = globalThis.io({ path, auth, transports: polling ? ['polling'] : ['polling', 'websocket'] });
  socket.on('connect', () => socket.io.engine.once('upgrade', onUpgrade));
  return Object.assign(socket, {
    transport: () => socket.io.engine?.transport.name,
    resume: () => undefined, // the stock client recovers within one page only
    drop: () => socket.io.engine.close(),
  });
}
