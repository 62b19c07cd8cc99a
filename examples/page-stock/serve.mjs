// Serves this folder's page and the stock client from node_modules, nothing else.
import { createReadStream } from 'node:fs';
import { createServer } from 'node:http';

const files = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/page.js': ['page.js', 'text/javascript'],
  '/socket.io.js': ['node_modules/socket.io-client/dist/socket.io.esm.min.js', 'text/javascript'],
};

createServer((request, response) => {
  const [name, type] = files[new URL(request.url, 'http://localhost').pathname] ?? [];
  if (!name) return response.writeHead(404).end();
  createReadStream(new URL(name, import.meta.url))
    .on('error', () => response.writeHead(500).end(`${name} is missing: npm install first`))
    .once('open', () => response.writeHead(200, { 'Content-Type': type }))
    .pipe(response);
}).listen(Number(process.env.PORT ?? 3000), '127.0.0.1', function () {
  console.log(`open http://127.0.0.1:${this.address().port}/?name=ann and, in another window, /?name=bo`);
});
