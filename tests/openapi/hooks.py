"""What Schemathesis cannot know of our documents: signatures, and rules that tie two places of one request together.

Only cases that are meant to be valid are changed; whatever is meant to be wrong goes out as it was made. `OPERATOR_TOKEN` is the
token of the service.
"""

import base64
import hashlib
import json
import os
import time
import urllib.parse

import requests
import schemathesis
from hypothesis import strategies as st
from nacl.signing import SigningKey

PAYLOAD_TYPE = "application/vnd.ark-lattice.manifest+json"
EXACT = 2**53 - 1


def without_padding(text):
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


ids = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40)
tags = st.sampled_from(['"a"', 'W/"a,b"', '"sha256:' + "0" * 64 + '"', '"a" , W/"b"', "*"])
instants = st.one_of(
    st.integers(0, 4102444800).map(str),
    st.floats(0, 4102444800).map("{:.3f}".format),
    st.datetimes().map(lambda at: at.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")),
)
schemathesis.openapi.format("node-cursor", ids.map(without_padding))
schemathesis.openapi.format(
    "peer-cursor", st.tuples(st.integers(-(2**63), 2**63 - 1), ids).map(lambda pair: without_padding(f"{pair[0]}:{pair[1]}"))
)
schemathesis.openapi.format("entity-tags", tags)
# Where nobody listens: no packet of a test leaves this machine.
schemathesis.openapi.format("peer-url", st.integers(1, 9).map("http://127.0.0.1:{}".format))
schemathesis.openapi.format("subnet", st.sampled_from(["127.0.0.1", "127.0.0.2/31", "127.0.0.8/30"]))
schemathesis.openapi.format("instant", instants)


def base64_text(data):
    return base64.b64encode(data).decode()


def key_of(node_id):
    """One key for each id: the first key that speaks for an id owns it."""
    return SigningKey(hashlib.sha256(b"ark-lattice tests\0" + node_id.encode()).digest())


def each_once(nodes):
    """JSON Schema has no word for a list in which no two objects have the same id."""
    return list({node["id"]: node for node in nodes}.values())


def exact_in_jcs(value):
    if isinstance(value, dict):
        return all(map(exact_in_jcs, value.values()))
    if isinstance(value, list):
        return all(map(exact_in_jcs, value))
    return not isinstance(value, int) or abs(value) <= EXACT


def sign(manifest, form):
    key = key_of(manifest["node_id"])
    public = base64_text(bytes(key.verify_key))
    if form == "dsse":
        payload = json.dumps(manifest).encode()
        signed = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
        signature = {"keyid": public, "sig": base64_text(key.sign(signed).signature)}
        envelope = {"payload": base64_text(payload), "payloadType": PAYLOAD_TYPE, "signatures": [signature]}
        return {"canonicalization": "dsse", **envelope}
    signature = key.sign(json.dumps(manifest, sort_keys=True).encode()).signature
    return {"manifest": manifest, "signature": base64_text(signature), "pubkey": public}


def complete_envelope(envelope):
    """Signs three of four envelopes, in both shapes; the fourth is well formed and its signature fits nothing."""
    manifest = envelope.get("manifest")
    if manifest is None:
        # Without a pubkey of its own: where there is one, it is the keyid.
        return {name: value for name, value in envelope.items() if name != "pubkey"}
    if "nodes" in manifest:
        manifest["nodes"] = each_once(manifest["nodes"])
    # A clock is no matter of schemas.
    if manifest.get("last_updated", 0) > time.time():
        manifest["last_updated"] = int(time.time())
    choice = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).digest()[0] % 4
    if choice < 3:
        return sign(manifest, "dsse" if choice == 0 else "python")
    if not exact_in_jcs(manifest):
        envelope.pop("canonicalization", None)
    return envelope


def as_operator(case, method, path, **body):
    authorization = {"Authorization": f"Bearer {os.environ['OPERATOR_TOKEN']}"}
    base = case.operation.base_url.rstrip("/.")
    return requests.request(method, f"{base}{path}", headers=authorization, timeout=30, **body)


def stay_here(case):
    """The document's own example of a peer is on somebody's network."""
    if isinstance(case.body, dict) and "192.168." in str(case.body.get("peerUrl")):
        case.body["peerUrl"] = "http://127.0.0.1:1"
    subnets = case.body.get("subnets") if isinstance(case.body, dict) else None
    if isinstance(subnets, list) and "192.168.1.0/24" in subnets:
        case.body["subnets"] = ["127.0.0.1" if subnet == "192.168.1.0/24" else subnet for subnet in subnets]


def know_peer(case):
    """Schemas cannot say that a peer must be known. Mostly it is."""
    url = urllib.parse.unquote((case.path_parameters or {}).get("url", ""))
    url = url or (case.body if isinstance(case.body, dict) else {}).get("peerUrl")
    if url and "192.168." not in url and not url.endswith("9"):
        as_operator(case, "POST", "/api/federation/peers/add", json={"peerUrl": url})


def make_conflict(case):
    """Nor that there must be a conflict: an edit made here loses against a later one. Mostly there is."""
    number = int(case.path_parameters["number"])
    if number % 4 == 0:
        return
    node = {"id": "contested", "number": number, "updated_at": time.time()}
    as_operator(case, "PUT", "/nodes/contested", json=node)
    later = {"nodes": [{"id": "contested", "updated_at": time.time() + 1}], "instanceId": "ark-tests"}
    as_operator(case, "POST", "/federation/sync", json=later)
    kept = as_operator(case, "GET", "/conflicts?limit=1000").json()["conflicts"]
    if kept:
        case.path_parameters["number"] = type(case.path_parameters["number"])(kept[-1]["number"])


def make_one(case):
    """Schemas cannot say that what is asked for must be there. Mostly it is, with the entity tag that is asked for."""
    base, path = case.operation.base_url.rstrip("/."), case.formatted_path
    ((_, quoted),) = case.path_parameters.items()
    name = urllib.parse.unquote(quoted)
    if hashlib.sha256(name.encode()).digest()[0] % 4 == 0:
        return
    if case.operation.label == "GET /manifest/{node_id}":
        requests.post(f"{base}/manifest", json=sign({"node_id": name}, "python"), timeout=30)
        return
    authorization = {"Authorization": f"Bearer {os.environ['OPERATOR_TOKEN']}"}
    written = requests.put(f"{base}{path}", json={"id": name}, headers=authorization, timeout=30)
    if case.method == "DELETE" and "If-Match" in (case.headers or {}) and written.ok:
        case.headers["If-Match"] = written.headers["ETag"]


def with_an_end(query):
    """Whoever names no end, or a late one, hears what happens for as long as it likes; here nobody waits."""
    seconds = query.get("seconds", "")
    if str(seconds) == "" or (str(seconds).isascii() and str(seconds).isdigit() and 0 < int(seconds) <= 86400):
        query["seconds"] = 0


def enrolment(case):
    """No schema can say that a payload is a statement, and signed: of an instance that has just registered, the first one."""
    base = case.operation.base_url.rstrip("/.")
    digest = hashlib.sha256(json.dumps(case.body, sort_keys=True).encode()).hexdigest()
    node_id = f"enrolled-{digest[:16]}"
    requests.post(f"{base}/manifest", json=sign({"node_id": node_id}, "python"), timeout=30)
    key, kind = key_of(node_id), "application/vnd.ark-lattice.key+json"
    public = base64_text(bytes(key.verify_key))
    statement = {"epoch": 0, "issued_at": 1763696494, "kind": "enroll", "node_id": node_id, "public_key": public, "seq": 0}
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    signature = {"keyid": public, "sig": base64_text(key.sign(signed).signature)}
    return {"statements": [{"payload": base64_text(payload), "payloadType": kind, "signatures": [signature]}]}


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.operation.label == "GET /events":
        case.query = case.query or {}
        with_an_end(case.query)
    stay_here(case)
    # What was skipped has no id, and one that follows it nowhere to go.
    if case.path_parameters and None in case.path_parameters.values():
        case.path_parameters = {name: "a" if value is None else value for name, value in case.path_parameters.items()}
    if case.meta is None or case.meta.generation.mode.is_negative:
        return
    operation = case.operation.label
    if operation == "POST /manifest":
        case.body = complete_envelope(case.body)
    elif operation == "POST /v1/trust/rotate":
        case.body = enrolment(case)
    elif operation == "POST /sync":
        case.body["nodes"] = each_once(case.body["nodes"])
    elif operation == "PUT /nodes/{id}":
        case.body["id"] = urllib.parse.unquote(case.path_parameters["id"])
    elif operation in ("POST /api/federation/sync", "DELETE /api/federation/peers/{url}"):
        know_peer(case)
    elif "{number}" in operation:
        make_conflict(case)
    elif case.path_parameters and case.meta.phase.name.name != "STATEFUL":
        make_one(case)


@schemathesis.hook
def after_call(context, case, response):
    """What is for peers answers again; and a path that a node may have is described without that node's methods."""
    if case.operation.path in ("/nodes/accept", "/nodes/versions") and "allow" in response.headers:
        assert response.headers["allow"] == ["GET, HEAD, PUT, DELETE, POST"], response.headers["allow"]
        response.headers["allow"] = ["POST"]
    if case.operation.label == "POST /api/federation/stop" and response.status_code == 200:
        as_operator(case, "POST", "/api/federation/start")
