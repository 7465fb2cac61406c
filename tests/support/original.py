"""Stand-ins for the original ARK services, written from their documents alone: plain HTTP, no signatures of their own.

original.py WIRE NODES: WIRE is node, python, or a hostile one (endless, garbage, odd); NODES is a JSON list. The first line on standard
output is the port. GET /_nodes answers what it holds, GET /_log which requests came.
"""

import base64
import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WIRE = sys.argv[1]
INSTANCE = "m-original"
NODES = {node["id"]: node for node in json.loads(sys.argv[2])}
SOURCES = {}
PEERS = {}
LOG = []


def later(incoming, existing, source):
    mine, theirs = existing.get("timestamp", 0), incoming.get("timestamp", 0)
    return theirs > mine or (theirs == mine and source > INSTANCE)


def compute_hash(node):
    return hashlib.sha256(json.dumps(node).encode()).hexdigest()


class Original(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def raw(self, body, endless=False):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            self.wfile.write(body)
            while endless:
                self.wfile.write(b'{"id":"a","text":"' + b"x" * 65536 + b'"},')
        except OSError:
            pass
        self.close_connection = True

    def do_GET(self):
        if self.path == "/_nodes":
            return self.reply(200, sorted(NODES.values(), key=lambda node: node["id"]))
        if self.path == "/_peers":
            return self.reply(200, PEERS)
        if self.path == "/_log":
            return self.reply(200, LOG)
        LOG.append("GET " + self.path)
        if WIRE != "python" and self.path == "/federation/info":
            return self.reply(200, {"instanceId": INSTANCE, "instanceName": "ARK-local-" + INSTANCE, "instanceType": "local"})
        if WIRE == "python" and self.path == "/discover":
            return self.reply(200, {"peers": [{"node_id": peer} for peer in PEERS], "count": len(PEERS)})
        if self.path == "/federation/nodes":
            if WIRE == "node":
                return self.reply(200, {"nodes": list(NODES.values())})
            if WIRE == "endless":
                return self.raw(b'{"nodes":[', endless=True)
            if WIRE == "garbage":
                return self.raw(b'<html>{"nodes":')
            if WIRE == "odd":
                odd = ["../../etc/passwd", "/abs", "a\u0000b", "..", ".ark-lattice", "x" * 4000]
                nodes = [{"id": name, "timestamp": 1700000000} for name in odd]
                nodes += [{"no": "id"}, 7, None, [], {"id": "big", "text": "y" * 3_000_000}, {"id": "good", "timestamp": 1700000000}]
                return self.reply(200, {"nodes": nodes})
        return self.reply(404, {"error": "Not found"})

    def do_POST(self):
        LOG.append("POST " + self.path)
        length = int(self.headers.get("Content-Length", 0))
        if WIRE == "node" and length > 100 * 1024:
            self.close_connection = True
            return self.reply(413, {"error": "request entity too large"})
        body = json.loads(self.rfile.read(length) or b"{}")
        if WIRE == "node" and self.path == "/federation/sync":
            source = body.get("instanceId", "")
            for node in body["nodes"]:
                known = NODES.get(node["id"])
                if known is None or later(node, known, source):
                    NODES[node["id"]] = node
            return self.reply(200, {"received": len(body["nodes"])})
        if WIRE == "python" and self.path == "/sync":
            theirs = {node["id"]: node["hash"] for node in body["nodes"]}
            delta = [node for node in NODES.values() if theirs.get(node["id"]) != compute_hash(node)]
            return self.reply(200, {"delta_count": len(delta), "nodes": delta})
        if WIRE == "python" and self.path == "/manifest":
            from nacl.signing import VerifyKey

            manifest = body["manifest"]
            payload = json.dumps(manifest, sort_keys=True).encode()
            VerifyKey(base64.b64decode(body["pubkey"])).verify(payload, base64.b64decode(body["signature"]))
            PEERS[manifest["node_id"]] = [node["id"] for node in manifest["nodes"]]
            return self.reply(200, {"status": "registered", "node_id": manifest["node_id"]})
        return self.reply(404, {"detail": "Not Found"})


server = ThreadingHTTPServer(("127.0.0.1", 0), Original)
print(server.server_port, flush=True)
server.serve_forever()
