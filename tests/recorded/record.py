#!/usr/bin/env python3
"""Records the state directories, data directories and HTTP exchanges of a release, for tests/recorded/main.rs.

    python3 tests/recorded/record.py BINARY FOLDER      # FOLDER: tests/recorded/VERSION, replaced as a whole

Run it with the binary of a release before the first change that follows it. Needs redis-server and zstd; nothing else.

Layout of the folder:
  pairs/NAME.json      one instance: its data directory (texts, with their mtimes), its state directory (texts; other files are
                       zstd, base64), its settings, its Redis where it has one (as commands), and the answers that the release
                       gave about this content ("expected")
  wire/SESSION/        one file for each exchange: request line, headers and body, a separator, status line, headers and body.
                       Bodies are decoded; binary ones are base64, with the header `recorded-as: base64`. session.json names the
                       pairs with which the session begins and its time.

All keys and tokens in a recording are test keys, made for it.
"""

import base64
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

TOKEN = "the-operators-token-of-the-tests"
SEPARATOR = b"\n=== answer ===\n"
# Created by every start, or empty.
LEFT_OUT = {"lattice.reserve", "lattice.pack", "lock"}
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length"}


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


class Exchanges:
    """One session's files."""

    def __init__(self, folder):
        self.folder, self.lock, self.count = folder, threading.Lock(), 0
        folder.mkdir(parents=True)

    def write(self, method, target, request_headers, request_body, status, reason, answer_headers, answer_body):
        with self.lock:
            self.count += 1
            number = self.count
        path = urllib.parse.urlsplit(target).path.strip("/")
        name = re.sub(r"[^A-Za-z0-9]+", "-", path).strip("-")[:60] or "index"
        request = message(f"{method} {target} HTTP/1.1", request_headers, request_body)
        answer = message(f"HTTP/1.1 {status} {reason}", answer_headers, answer_body)
        (self.folder / f"{number:02}-{method}-{name}.http").write_bytes(request + SEPARATOR + answer)


def message(first_line, headers, body):
    headers = [(name.lower(), value) for name, value in headers]
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        body = base64.b64encode(body)
        headers.append(("recorded-as", "base64"))
    head = "".join(f"{line}\n" for line in [first_line, *(f"{name}: {value}" for name, value in headers)])
    return head.encode() + b"\n" + body


class Proxy:
    """A proxy before an instance; writes exchanges to files while it has a session."""

    def __init__(self, target):
        self.port, self.target, self.session = free_port(), target, None
        self.url = f"http://127.0.0.1:{self.port}"
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except (ConnectionError, TimeoutError):
                    self.close_connection = True

            def forward(self):
                session = proxy.session
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                upstream = http.client.HTTPConnection("127.0.0.1", proxy.target, timeout=60)
                upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in HOP_BY_HOP | {"accept-encoding"}:
                        upstream.putheader(name, value)
                upstream.putheader("accept-encoding", "identity")
                if length or self.command == "POST":
                    upstream.putheader("content-length", str(length))
                upstream.endheaders(body if length else None)
                answer = upstream.getresponse()
                headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
                streams = answer.getheader("content-type", "").startswith("text/event-stream")
                came = self.stream(answer, headers) if streams else self.whole(answer, headers)
                upstream.close()
                if session:
                    asked = [(name, value) for name, value in self.headers.items() if name.lower() != "content-length"]
                    session.write(self.command, self.path, asked, body, answer.status, answer.reason, headers, came)

            def head(self, answer, headers):
                self.send_response_only(answer.status, answer.reason)
                for name, value in headers:
                    self.send_header(name, value)

            def whole(self, answer, headers):
                body = answer.read()
                self.head(answer, headers)
                if answer.status not in (204, 304):
                    self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return body

            def stream(self, answer, headers):
                self.head(answer, headers)
                self.send_header("connection", "close")
                self.end_headers()
                self.close_connection = True
                came = b""
                try:
                    while part := answer.read1(65536):
                        came += part
                        self.wfile.write(part)
                except (OSError, http.client.HTTPException):
                    pass
                return came

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = forward

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Redis:
    """A redis-server of its own."""

    all = []

    def __init__(self, folder):
        Redis.all.append(self)
        self.port = free_port()
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             "--dir", str(folder)], stdout=subprocess.DEVNULL)
        deadline = time.time() + 20
        while time.time() < deadline:
            try:
                self.stream = socket.create_connection(("127.0.0.1", self.port)).makefile("rwb")
                return
            except OSError:
                time.sleep(0.05)
        sys.exit("redis-server does not start")

    def ask(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.stream.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(it), it) for it in words))
        self.stream.flush()
        return self.answer()

    def answer(self):
        line = self.stream.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            sys.exit(f"redis: {rest.decode()}")
        if kind == b"$":
            return None if rest == b"-1" else self.stream.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest

    def commands(self):
        """The content as commands."""
        made = []
        for key in sorted(self.ask("KEYS", "*")):
            kind = self.ask("TYPE", key)
            if kind == b"hash":
                made.append([b"HSET", key, *self.ask("HGETALL", key)])
            elif kind == b"zset":
                flat = self.ask("ZRANGE", key, "0", "-1", "WITHSCORES")
                made.append([b"ZADD", key, *(word for pair in zip(flat[1::2], flat[::2]) for word in pair)])
            elif kind == b"string":
                made.append([b"SET", key, self.ask("GET", key)])
            else:
                sys.exit(f"{key} is a {kind}")
            expires = self.ask("PEXPIRETIME", key)
            if expires >= 0:
                made.append([b"PEXPIREAT", key, str(expires).encode()])
        return [[word.decode() for word in command] for command in made]


class Instance:
    """The release on its own directories; the port is the same after a restart."""

    all = []

    def __init__(self, name, variables=None, redis=None):
        self.name, self.redis = name, redis
        self.root = ROOT / name
        self.data, self.state = self.root / "data", self.root / "state"
        self.data.mkdir(parents=True)
        self.port, self.process, self.peers = free_port(), None, {}
        self.proxy = Proxy(self.port)
        # Also set by the tests; the variables in `environment` are not.
        self.variables = {"ARK_NODE_ID": f"ark-{name}", "ARK_PEER_TTL": "1h", "ARK_ADMIN_TOKEN": TOKEN, **(variables or {})}
        Instance.all.append(self)

    def environment(self):
        own = {"LATTICE_PATH": str(self.data), "ARK_STATE_PATH": str(self.state), "FEDERATION_PORT": str(self.port),
               "ARK__LOG__LEVEL": "warn", "NO_COLOR": "1", "PATH": os.environ["PATH"]}
        if self.redis:
            own["REDIS_URL"] = f"redis://127.0.0.1:{self.redis.port}/"
        return {**own, **self.variables}

    def cli(self, *words, code=0, text=None):
        run = subprocess.run([BINARY, *words], cwd=self.root, env=self.environment(), input=text, text=True,
                             capture_output=True)
        if run.returncode != code:
            sys.exit(f"{self.name}: {words} exited with {run.returncode}: {run.stdout}{run.stderr}")
        return run.stdout

    def json(self, *words, code=0):
        return json.loads(self.cli(*words, "--json", code=code))

    def start(self):
        log = open(self.root / "log", "ab")
        self.process = subprocess.Popen([BINARY, "serve"], cwd=self.root, env=self.environment(), stdout=log, stderr=log)
        deadline = time.time() + 30
        while time.time() < deadline:
            try:
                if self.ask("GET", "/ready")[0] == 200:
                    return self
            except OSError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        sys.exit(f"{self.name} does not start: {(self.root / 'log').read_text()}")

    def stop(self, kill=False):
        self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        self.process.wait(30)
        self.process = None
        return self

    def ask(self, method, target, body=None, port=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        headers = {"accept-encoding": "identity", **(headers or {})}
        if not port:
            headers["authorization"] = f"Bearer {TOKEN}"
        if body is not None and "content-type" not in headers:
            headers["content-type"] = "application/json"
        body = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        connection.request(method, target, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def get(self, target):
        status, text = self.ask("GET", target)
        if status != 200:
            sys.exit(f"{self.name}: GET {target} answers {status}: {text}")
        return json.loads(text)

    def post(self, target, body):
        status, text = self.ask("POST", target, body)
        if status != 200:
            sys.exit(f"{self.name}: POST {target} answers {status}: {text}")
        return json.loads(text)

    # Documents.

    def file(self, name, text, mtime=None):
        path = self.data / name
        path.write_text(text)
        if mtime:
            os.utime(path, (mtime, mtime))

    def put(self, node):
        quoted = urllib.parse.quote(node["id"], safe="")
        status, text = self.ask("PUT", f"/nodes/{quoted}", node)
        if status not in (200, 201):
            sys.exit(f"{self.name}: {node['id']}: {status} {text}")

    def delete(self, node_id):
        status, text = self.ask("DELETE", f"/nodes/{urllib.parse.quote(node_id, safe='')}")
        if status != 200:
            sys.exit(f"{self.name}: {node_id}: {status} {text}")

    # Peers.

    def add_peer(self, other, **options):
        self.peers[f"127.0.0.1:{other.proxy.port}"] = other.name
        self.post("/api/federation/peers/add", {"peerUrl": other.proxy.url, **options})

    def sync(self, other):
        result = self.post("/api/federation/sync", {"peerUrl": other.proxy.url})["result"][0]
        print(f"  {self.name} -> {other.name}: {result}")
        return result

    def set_hash(self):
        return self.post("/sync", {"nodes": [], "limit": 1})["manifest_hash"]

    # The recording.

    def expected(self):
        """The answers of the running release about its content."""
        answers = {}
        for target in ["/nodes?limit=1000", "/conflicts?contents=true", "/api/federation/peers", "/api/federation/status",
                       "/federation/history?limit=100", "/v1/trust/relationships", "/v1/nodes", "/discover",
                       "/lattice/identity", "/health"]:
            status, text = self.ask("GET", target)
            answers[target] = {"status": status, "body": json.loads(text)}
        for peer in answers["/discover"]["body"]["peers"]:
            target = f"/manifest/{urllib.parse.quote(peer['node_id'], safe='')}"
            answers[target] = {"status": 200, "body": self.get(target)}
        for conflict in answers["/conflicts?contents=true"]["body"]["conflicts"]:
            target = f"/conflicts/{conflict['number']}"
            answers[target] = {"status": 200, "body": self.get(target)}
        _, lines = self.ask("GET", "/lattice/changes?since=0")
        changes = [json.loads(line) for line in lines.splitlines()]
        commands = {}
        for words in [["key", "show"], ["audit", "verify"], ["audit", "list"], ["conflicts", "list"]]:
            answer = self.json(*words)
            answer.pop("file", None)
            commands[" ".join(words)] = answer
        return {"set_hash": self.set_hash(), "changes": changes, "answers": answers, "commands": commands}

    def snapshot(self, name, expected=None, **more):
        """Writes down both directories; to be called after it was stopped."""
        state = {}
        for path in sorted(self.state.rglob("*")):
            if path.is_file() and path.name not in LEFT_OUT:
                state[str(path.relative_to(self.state))] = stored(path.read_bytes())
        data = {}
        for path in sorted(self.data.iterdir()):
            # Written by every start; recorded only where a test looks at it.
            if path.name == "manifest.json" and not expected:
                continue
            data[path.name] = {"mtime_ns": path.stat().st_mtime_ns, "text": path.read_text()}
        pair = {"instance": self.name, "taken_at": time.time(), "port": self.port, "variables": self.variables,
                "peers": self.peers, "data": data, "state": state, **more}
        if self.redis:
            pair["redis"] = self.redis.commands()
        if expected:
            pair["expected"] = expected
        folder = OUT / "pairs"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(two_levels(pair))


def two_levels(value):
    """JSON with a line for each member of a member."""
    def one(it):
        return json.dumps(it, ensure_ascii=False, separators=(",", ":"))

    lines = []
    for key, member in value.items():
        if isinstance(member, dict) and member:
            member = "{\n" + ",\n".join(f"  {one(name)}: {one(it)}" for name, it in member.items()) + "\n }"
        elif isinstance(member, list) and member:
            member = "[\n" + ",\n".join(f"  {one(it)}" for it in member) + "\n ]"
        else:
            member = one(member)
        lines.append(f" {one(key)}: {member}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def stored(content):
    try:
        text = content.decode("utf-8")
        if "\0" not in text:
            return {"text": text}
    except UnicodeDecodeError:
        pass
    packed = subprocess.run(["zstd", "-19", "-q", "-c"], input=content, capture_output=True, check=True).stdout
    return {"zstd": base64.b64encode(packed).decode()}


class Session:
    """`with Session("name", server, …)`: records the exchanges with the server meanwhile."""

    def __init__(self, name, server, server_pair, client_pair=None, client=None):
        self.name, self.server, self.client = name, server, client
        self.facts = {"server": server_pair, "server_port": server.proxy.port, "client": client_pair}

    def __enter__(self):
        self.folder = OUT / "wire" / self.name
        self.facts["at"] = time.time()
        self.server.proxy.session = Exchanges(self.folder)
        return self

    def __exit__(self, *failed):
        time.sleep(0.3)
        self.server.proxy.session = None
        if self.client:
            self.facts["client_after"] = {"set_hash": self.client.set_hash(),
                                          "conflicts": self.client.get("/conflicts")["count"]}
        self.facts["server_after"] = {"set_hash": self.server.set_hash()}
        (self.folder / "session.json").write_text(json.dumps(self.facts, indent=1) + "\n")

    def sync(self):
        self.facts["result"] = self.client.sync(self.server)


# Documents.

LONG_ID = "long/" + "segment-ü-" * 20 + "end"
OLD = 1_630_000_000


def odd_documents(instance):
    """Ids that need encoding, all forms of a time, numbers that must keep their digits."""
    def encoded(node_id):
        plain = "".join(c if c.isascii() and (c.isalnum() or c in "._:-") else
                        "".join(f"%{byte:02X}" for byte in c.encode()) for c in node_id)
        return ("%2E" + plain[1:] if plain.startswith(".") else plain) + ".json"

    files = {
        "notes/2026 plan": '{"id": "notes/2026 plan", "type": "note", "updated_at": 1699564700, "text": "Grüß Gott"}',
        "Grüße/日本語": '{"type": "note", "id": "Grüße/日本語"}',
        "100%": '{"id": "100%", "value": "a percent sign"}',
        ".hidden": '{"id": ".hidden", "updated_at": 1699564701}',
        "colon:and-dash_ok.v1": '{"id":"colon:and-dash_ok.v1","updated_at":1699564702.25,"type":"framework_node"}',
        "UPPER": '{"id": "UPPER", "updated_at": 1699564703}',
        "upper": '{"id": "upper", "updated_at": 1699564703}',
        "numbers": '{"id": "numbers", "updated_at": 1699564704, "big": 12345678901234567890123, "one": 1.0, "tiny": 1e-7}',
        "rfc3339": '{"id": "rfc3339", "updated_at": "2023-11-09T21:20:00Z", "type": "note"}',
        "offset": '{"id": "offset", "updated_at": "2023-11-09T22:20:00.5+01:00"}',
        "no-offset": '{"id": "no-offset", "updated_at": "2023-11-09 21:20:00"}',
        "milliseconds": '{"id": "milliseconds", "updated_at": 1699564700123}',
        "no-date": '{"id": "no-date", "updated_at": "yesterday"}',
        "urgent": '{"id": "urgent", "type": "note", "priority": 5, "tags": ["now", "work"], "updated_at": 1699564705}',
        "pretty": '{\n    "id": "pretty",\n    "updated_at": 1699564706,\n    "nested": {"a": [1, 2, {"b": null}]},\n'
                  '    "escapes": "\\u00e9\\n\\"\\\\"\n}\n',
    }
    for number, (node_id, text) in enumerate(files.items()):
        instance.file(encoded(node_id), text, OLD + number)


def bulk(instance, numbers, prefix="bulk"):
    for number in numbers:
        node = {"id": f"{prefix}-{number:03}", "type": "bulk", "updated_at": 1_700_000_000 + number, "n": number}
        instance.file(f"{prefix}-{number:03}.json", json.dumps(node), OLD)


def until(what, holds):
    deadline = time.time() + 20
    while not holds():
        if time.time() > deadline:
            sys.exit(f"not in time: {what}")
        time.sleep(0.05)


# The recordings.

def two_instances():
    """alpha and beta: first contact, then edits, deletions and conflicts on both sides, then a rotated key."""
    alpha, beta = Instance("alpha"), Instance("beta")
    odd_documents(beta)
    bulk(beta, range(40))
    beta.file("broken.json", '{"id": "broken", "va')
    for each in (alpha, beta):
        each.cli("keygen")
        each.start()
    beta.put({"id": LONG_ID, "updated_at": 1699564707})
    alpha.add_peer(beta)
    for each in (alpha, beta):
        each.stop()
    alpha.snapshot("alpha-empty")
    beta.snapshot("beta-full")
    for each in (alpha, beta):
        each.start()
    with Session("first-contact", beta, "beta-full", "alpha-empty", alpha) as session:
        session.sync()

    # Edits of the same nodes on both sides: the later version wins, alpha keeps its own as a conflict.
    for number, node_id in enumerate(["won-by-beta", "dismissed", "restored", "deleted-by-beta"]):
        beta.put({"id": node_id, "type": "note", "text": "from beta", "updated_at": 1_700_001_000 + number})
    alpha.sync(beta)
    for node_id in ["won-by-beta", "dismissed", "restored", "deleted-by-beta"]:
        alpha.put({"id": node_id, "type": "note", "text": "edited on alpha", "updated_at": 1_700_002_000})
    for node_id in ["won-by-beta", "dismissed", "restored"]:
        beta.put({"id": node_id, "type": "note", "text": "edited later on beta", "updated_at": 1_700_003_000})
    beta.delete("deleted-by-beta")
    alpha.sync(beta)
    numbers = {it["id"]: it["number"] for it in alpha.get("/conflicts")["conflicts"]}
    alpha.cli("conflicts", "dismiss", str(numbers["dismissed"]))
    alpha.cli("conflicts", "restore", str(numbers["restored"]))
    for number in range(3):
        alpha.delete(f"bulk-{number:03}")
        beta.delete(f"bulk-{number + 10:03}")
    beta.delete("upper")
    alpha.sync(beta)

    # Changes in both directions for the incremental round.
    beta.cli("manifest", "publish", "--to", f"http://127.0.0.1:{alpha.port}")
    alpha.put({"id": "made-on-alpha", "type": "note", "text": "new", "updated_at": 1_700_004_000})
    alpha.put({"id": "bulk-020", "type": "bulk", "n": -20, "updated_at": 1_700_004_001})
    alpha.delete("bulk-030")
    beta.put({"id": "made-on-beta", "text": "new", "updated_at": 1_700_004_002})
    beta.put({"id": "bulk-020", "type": "bulk", "n": 2020, "updated_at": 1_700_004_003})
    beta.delete("bulk-031")
    for each in (alpha, beta):
        each.stop()
    alpha.snapshot("alpha-edited")
    beta.snapshot("beta-edited")
    for each in (alpha, beta):
        each.start()
    with Session("changes-both-ways", beta, "beta-edited", "alpha-edited", alpha) as session:
        session.sync()

    # Trust decisions and registrations.
    beta_key = beta.json("key", "show")["public_key"]
    alpha.cli("federation", "trust", "verify", "ark-beta", "--public-key", beta_key, "--reason", "read from its screen")
    thief = Instance("thief")
    thief.cli("keygen")
    thief.cli("manifest", "publish", "--to", f"http://127.0.0.1:{alpha.port}")
    alpha.cli("federation", "trust", "revoke", "ark-thief", "--reason", "its machine was stolen")
    thief.cli("manifest", "publish", "--to", f"http://127.0.0.1:{alpha.port}", code=3)

    # beta rotates its key and sends the statement to alpha.
    old_key = (beta.state / "identity.key").read_text()
    with Session("rotated-key-is-announced", alpha, "alpha-edited"):
        words = beta.json("key", "rotate", "--words", "--to", alpha.proxy.url)["words"]
        time.sleep(1.5)
    alpha.sync(beta)
    beta.put({"id": "signed-with-the-new-key", "updated_at": 1_700_005_000})
    alpha.sync(beta)

    # The final pairs: alpha stops in order; beta is killed, so its registry.log is not merged into registry.redb.
    beta.cli("manifest", "publish", "--to", f"http://127.0.0.1:{alpha.port}")
    alpha.cli("federation", "auto-sync", "--start", "--interval", "45s")
    alpha.cli("federation", "auto-sync", "--stop")
    time.sleep(0.5)
    expected = {each.name: each.expected() for each in (alpha, beta)}
    alpha.stop()
    beta.stop(kill=True)
    alpha.snapshot("alpha", expected["alpha"])
    beta.snapshot("beta", expected["beta"], replaced_key=old_key.strip(), words=words)

    # Requests outside a round.
    beta.start()
    with Session("scripts", beta, "beta"):
        scripts(beta)
    beta.stop()
    return alpha, beta


def scripts(server):
    """Requests of scripts and commands, and single requests of the routes under /lattice/."""
    url, port = server.proxy.url, server.proxy.port
    kappa = Instance("kappa")
    kappa.cli("keygen")
    bulk(kappa, range(2), "of-kappa")
    kappa.cli("manifest", "publish", "--to", url)
    kappa.cli("discover", "--from", url)
    # 5: the pull refuses the date in milliseconds, which the round takes.
    kappa.cli("pull", "--from", url, code=5)
    held = [{"id": node["id"], "hash": node["hash"]} for node in server.get("/nodes?limit=1000")["nodes"]][4:]
    held[0]["hash"] = "other"
    for method, target, body in [
        ("GET", "/discover", None),
        ("GET", "/discover?instance_type=local&limit=1", None),
        ("GET", "/manifest/ark-kappa", None),
        ("GET", "/manifest/ark-nobody", None),
        ("POST", "/sync", {"nodes": held}),
        ("POST", "/sync?limit=2", {"nodes": held}),
        ("POST", "/sync", {"nodes": [], "manifest_hash": server.set_hash()}),
        ("POST", "/sync", b'{"nodes": [{"id": 7}]}'),
        ("GET", "/nodes?limit=3", None),
        ("GET", "/nodes/notes%2F2026%20plan", None),
        ("GET", "/nodes/not-there", None),
        ("GET", "/lattice/identity", None),
        ("GET", "/lattice/head", None),
        ("GET", "/lattice/snapshot", None),
        ("GET", "/lattice/changes?since=0", None),
        ("GET", "/lattice/changes?index_id=another&since=4", None),
        ("POST", "/lattice/nodes", {"ids": ["no-date", "not-there"]}),
        ("POST", "/manifest", b'{"manifest": {"node_id": "x"}, "signature": "AA==", "pubkey": "AA=="}'),
        ("GET", "/conflicts", None),
    ]:
        server.ask(method, target, body, port=port)
    lines = server.ask("POST", "/sync", {"nodes": held}, port=port, headers={"accept": "application/x-ndjson"})[1]
    assert lines.count("\n") == 5, lines
    # A listener gets the position at once, then closes its connection; the proxy notices with the next events.
    with socket.create_connection(("127.0.0.1", port)) as listener:
        listener.sendall(b"GET /lattice/notify HTTP/1.1\r\nhost: localhost\r\n\r\n")
        heard = b""
        while b"data:" not in heard:
            heard += listener.recv(4096)
        listener.shutdown(socket.SHUT_RDWR)
    server.put({"id": "so-that-the-listener-is-found-gone"})
    time.sleep(0.3)
    server.put({"id": "so-that-the-listener-is-found-gone", "again": True})


def lists_and_filters():
    """gamma has its registry in Redis; phi exchanges lists with gamma, and pulls from omega by filter and priority."""
    redis = Redis(ROOT)
    gamma, phi = Instance("gamma", redis=redis), Instance("phi")
    bulk(gamma, range(12))
    bulk(phi, range(8, 20))
    odd_documents(gamma)
    phi.file("note-of-phi.json", '{"id": "note-of-phi", "type": "note", "updated_at": 1699564710}')
    for each in (gamma, phi):
        each.cli("keygen")
        each.start()
    phi.add_peer(gamma)
    for each in (gamma, phi):
        each.stop()
    gamma.snapshot("gamma-before")
    phi.snapshot("phi-before")
    for each in (gamma, phi):
        each.start()
    with Session("first-contact-of-two-with-nodes", gamma, "gamma-before", "phi-before", phi) as session:
        session.sync()
    # One way, by filter and priority.
    omega = Instance("omega", {"ARK_TRUST_MODE": "open"})
    omega.cli("keygen")
    odd_documents(omega)
    omega.start()
    phi.add_peer(omega, direction="pull", filter={"types": ["note"], "ids": [], "tags": []}, priority=True)
    for each in (omega, phi):
        each.stop()
    omega.snapshot("omega")
    phi.snapshot("phi-filtered")
    for each in (omega, phi):
        each.start()
    with Session("filtered-pull", omega, "omega", "phi-filtered", phi) as session:
        session.sync()
    # The wire of the Node.js original.
    with Session("node-js", omega, "omega"):
        pushed = [{"id": "from-node-js", "updated_at": 1699564800, "text": "ä"},
                  {"id": "urgent", "type": "note", "text": "newer", "timestamp": 1_700_009_000_000},
                  {"id": "rfc3339", "text": "older", "updated_at": 1_600_000_000}, {"no": "id"}]
        for method, target, body in [
            ("GET", "/federation/info", None),
            ("GET", "/federation/nodes", None),
            ("GET", "/federation/nodes?since=1699564704000&limit=2", None),
            ("GET", "/federation/sync", None),
            ("GET", "/federation/sync?since=1699564705", None),
            ("GET", "/federation/discover", None),
            ("POST", "/federation/sync", {"instanceId": "ark-node-js", "nodes": pushed}),
            ("POST", "/federation/sync", {"instanceId": "ark-node-js", "nodes": pushed}),
            ("GET", "/federation/sync", None),
        ]:
            omega.ask(method, target, body, port=omega.proxy.port)
    # Another filter: the position begins again.
    phi.add_peer(omega, direction="pull", filter={"types": ["note"], "ids": ["*"], "tags": []}, priority=True)
    phi.sync(omega)
    gamma.put({"id": "later-on-gamma", "updated_at": 1_700_006_000})
    gamma.delete("bulk-003")
    phi.delete("bulk-015")
    gamma.put({"id": "edited-on-both", "text": "on gamma", "updated_at": 1_700_006_000})
    phi.put({"id": "edited-on-both", "text": "later on phi", "updated_at": 1_700_006_001})
    phi.sync(gamma)
    phi_key = phi.json("key", "show")["public_key"]
    gamma.cli("federation", "trust", "verify", "ark-phi", "--public-key", phi_key, "--reason", "compared by phone")
    phi.put({"id": "not-sent-yet", "type": "note", "updated_at": 1_700_006_001})
    expected = {each.name: each.expected() for each in (gamma, phi)}
    for each in (gamma, phi, omega):
        each.stop()
    gamma.snapshot("gamma", expected["gamma"])
    phi.snapshot("phi", expected["phi"])
    omega.snapshot("omega-later")


def pushes_only():
    """tau pushes to upsilon, by filter; at the end its federation is stopped."""
    upsilon, tau = Instance("upsilon"), Instance("tau")
    bulk(upsilon, range(5, 12))
    bulk(tau, range(10))
    for each in (upsilon, tau):
        each.cli("keygen")
        each.start()
    tau.add_peer(upsilon, direction="push", filter={"types": ["bulk"], "ids": [], "tags": []})
    for each in (upsilon, tau):
        each.stop()
    upsilon.snapshot("upsilon-before")
    tau.snapshot("tau-before")
    for each in (upsilon, tau):
        each.start()
    with Session("filtered-push", upsilon, "upsilon-before", "tau-before", tau) as session:
        session.sync()
    tau.cli("federation", "stop")
    for each in (upsilon, tau):
        each.stop()
    upsilon.snapshot("upsilon")
    tau.snapshot("tau")


def reconciles():
    """rho and sigma hold enough nodes for a set reconciliation."""
    rho, sigma = Instance("rho"), Instance("sigma")
    bulk(sigma, range(260), "r")
    bulk(rho, range(4, 264), "r")
    sigma.file("r-100.json", '{"id": "r-100", "n": "other on sigma", "updated_at": 1700010000}', OLD)
    rho.file("r-101.json", '{"id": "r-101", "n": "other on rho", "updated_at": 1700010001}', OLD)
    for each in (rho, sigma):
        each.cli("keygen")
        each.start()
    rho.add_peer(sigma)
    for each in (rho, sigma):
        each.stop()
    sigma.snapshot("sigma")
    rho.snapshot("rho")
    for each in (rho, sigma):
        each.start()
    with Session("reconciliation", sigma, "sigma", "rho", rho) as session:
        session.sync()
    for each in (rho, sigma):
        each.stop()


def revoked():
    """lambda revokes its own key and has a file that became invalid; mu receives the revocation."""
    lam, mu = Instance("lambda"), Instance("mu")
    bulk(lam, range(4))
    bulk(mu, range(2))
    for each in (lam, mu):
        each.cli("keygen")
        each.start()
    mu.add_peer(lam)
    lam.add_peer(mu)
    mu.sync(lam)
    lam.sync(mu)
    lam.cli("manifest", "publish", "--to", f"http://127.0.0.1:{mu.port}")
    lam.file("bulk-002.json", '{"id": "bulk-002", "ty')
    until("the broken file is seen", lambda: lam.get("/health")["lattice"]["broken_total"] == 1)
    lam.stop()
    lam.snapshot("lambda-before-revocation")
    lam.start()
    mu.stop()
    mu.snapshot("mu-before-revocation")
    mu.start()
    with Session("revoked-key-is-announced", mu, "mu-before-revocation"):
        lam.cli("key", "revoke", "--reason", "laptop stolen", "--to", mu.proxy.url)
        time.sleep(1.5)
    mu.sync(lam)
    expected = {each.name: each.expected() for each in (lam, mu)}
    for each in (lam, mu):
        each.stop()
    lam.snapshot("lambda", expected["lambda"])
    mu.snapshot("mu", expected["mu"])


def network():
    """xi and nu share a network key."""
    key = base64.b64encode(bytes(range(32))).decode()
    nu, xi = (Instance(name, {"FEDERATION_NETWORK_KEY": key}) for name in ("nu", "xi"))
    bulk(nu, range(3))
    for each in (nu, xi):
        each.cli("keygen")
        each.start()
    xi.add_peer(nu)
    for each in (nu, xi):
        each.stop()
    nu.snapshot("nu")
    xi.snapshot("xi")
    for each in (nu, xi):
        each.start()
    with Session("network", nu, "nu", "xi", xi) as session:
        session.sync()
    for each in (nu, xi):
        each.stop()


def trust():
    """chi and psi prove their keys to each other; the key file of psi is encrypted."""
    chi, psi = Instance("chi"), Instance("psi", {"ARK_KEY_PASSPHRASE": "a passphrase of the tests"})
    chi.cli("keygen")
    psi.cli("keygen", "--encrypt")
    for each in (chi, psi):
        each.start()
        each.stop()
    psi.snapshot("psi")
    for each in (chi, psi):
        each.start()
    with Session("trust", psi, "psi"):
        chi.cli("federation", "trust", "add", "--peer", psi.proxy.url)
    for each in (chi, psi):
        each.stop()


def main():
    global BINARY, ROOT, OUT
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    BINARY, OUT = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2]).resolve()
    version = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        ROOT = pathlib.Path(folder)
        try:
            for record in (two_instances, lists_and_filters, pushes_only, reconciles, revoked, network, trust):
                print(record.__name__)
                record()
        finally:
            for instance in Instance.all:
                if instance.process:
                    instance.process.kill()
            for redis in Redis.all:
                redis.process.kill()
    (OUT / "recording.json").write_text(json.dumps({"version": version}) + "\n")
    size = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file())
    print(f"{size} bytes")


if __name__ == "__main__":
    main()
