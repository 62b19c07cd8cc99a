// Socket.IO on Node, without polling: one process, as its documentation starts it.
// Everybody is in one room; the event "b" of a client goes to it.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  pingInterval: Number(process.argv[2] ?? 25000),
  serveClient: false,
});
io.on("connection", (socket) => {
  socket.join("all");
  socket.on("b", (arg) => socket.to("all").emit("ev", arg));
  socket.on("echo", (arg, ack) => ack?.());
});
http.listen(0, "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${http.address().port}`);
});
process.on("SIGTERM", () => process.exit(0));
