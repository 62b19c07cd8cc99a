import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def handle(e):
    if e["type"] == "EVENT_TYPE_CONNECT":
        name = json.loads(e["auth"]).get("name") or e.get("query", {}).get("name")  # v2 clients: the query
        if not name:
            return {"reject": "say who you are"}
        return {"uid": name, "profile": json.dumps({"name": name}), "joinRooms": ["lobby"]}
    if e["type"] == "EVENT_TYPE_MESSAGE":
        others = {"targets": [{"room": "lobby"}], "filter": {"exceptClients": [e["client"]["id"]]}}
        return {"pushes": [others | {"event": e["event"], "payload": e["payload"]}], "ack": {"json": '["passed on"]'}}
    print(e["client"].get("uid"), "left:", e.get("reason"), flush=True)
    return {}


class Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open

    def do_POST(self):
        body = json.dumps(handle(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):  # one line for each request would be too many
        pass


ThreadingHTTPServer(("127.0.0.1", 9000), Backend).serve_forever()
