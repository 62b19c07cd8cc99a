// Socket.IO on Node: one process, as its documentation starts it. Each client is in
// the room that it names when it connects, or in "all"; the events "b" and "cursor"
// of a client go to the others in it, and "echo" is acknowledged.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, {
  pingInterval: Number(process.argv[2] ?? 25000),
  allowEIO3: true,
  serveClient: false,
});
io.on("connection", (socket) => {
  const room = socket.handshake.auth.guid ?? socket.handshake.query.guid ?? "all";
  socket.join(room);
  socket.on("b", (arg) => socket.to(room).emit("ev", arg));
  socket.on("cursor", (arg) => socket.to(room).volatile.emit("cursor", arg));
  socket.on("echo", (arg, ack) => ack?.());
});
http.listen(Number(process.argv[3] ?? 0), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${http.address().port}`);
});
process.on("SIGTERM", () => process.exit(0));
