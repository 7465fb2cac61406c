"""Calls every operation through a client that aiopenapi3 makes of /openapi.json when it runs: nothing here knows a path.

Usage: client.py BASE_URL OPERATOR_TOKEN
"""

import base64
import json
import sys

from aiopenapi3 import OpenAPI
from aiopenapi3.errors import HTTPClientError
from nacl.signing import SigningKey


def envelope(key):
    """Signed here, so that it is not only the document's own example that is taken."""
    manifest = {"node_id": "ark-generated-client", "nodes": [{"id": "a", "hash": "b"}]}
    signature = key.sign(json.dumps(manifest, sort_keys=True).encode()).signature
    signature, public = (base64.b64encode(data).decode() for data in (signature, bytes(key.verify_key)))
    return {"manifest": manifest, "signature": signature, "pubkey": public}


def enrolment(key, node_id):
    """The first statement about a key, as the README describes it."""
    payload_type = "application/vnd.ark-lattice.key+json"
    public = base64.b64encode(bytes(key.verify_key)).decode()
    statement = {"epoch": 0, "issued_at": 1_763_696_494, "kind": "enroll", "node_id": node_id, "public_key": public, "seq": 0}
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(payload_type), payload_type.encode(), len(payload), payload)
    signature = base64.b64encode(key.sign(signed).signature).decode()
    envelope = {"payload": base64.b64encode(payload).decode(), "payloadType": payload_type}
    return {"statements": [{**envelope, "signatures": [{"keyid": public, "sig": signature}]}]}


class Calls:
    """One method for each operation, in the order in which they need each other."""

    def __init__(self, api, token):
        api.authenticate(operator=token)
        self.api = api
        self.key = SigningKey.generate()
        self.sent = envelope(self.key)

    def call(self, operation, data=None, **parameters):
        request = getattr(self.api._, operation)
        return request(parameters=parameters or None, data=data)

    def getIndex(self):
        index = self.call("getIndex")
        assert index.service == "ark-lattice"
        self.routes = len(index.routes)

    def publishManifest(self):
        assert self.call("publishManifest", self.sent).node_id == "ark-generated-client"

    def rotateKey(self):
        stand = self.call("rotateKey", enrolment(self.key, "ark-generated-client"))
        assert (stand.status, stand.public_key) == ("current", self.sent["pubkey"]), stand

    def getManifest(self):
        found = self.call("getManifest", node_id="ark-generated-client")
        assert found.model_dump(exclude_unset=True)["signature"] == self.sent["signature"], found

    def discoverPeers(self):
        peers = self.call("discoverPeers", limit=10).peers
        assert [peer.node_id for peer in peers] == ["ark-generated-client"], peers
        assert peers[0].node_count == 1 and peers[0].pubkey == self.sent["pubkey"]

    def putNode(self):
        node = {"id": "notes/today", "type": "note", "value": "Grüß Gott"}
        assert self.call("putNode", node, id="notes/today").status == "created"

    def getNode(self):
        assert self.call("getNode", id="notes/today").value == "Grüß Gott"

    def acceptNodes(self):
        answer = self.call("acceptNodes", {"ids": ["notes/today", "absent"]})
        assert (answer.accepted, answer.missing) == (["notes/today"], ["absent"]), answer

    def takeVersions(self):
        version = {"at": 1763696494.25, "node": {"id": "notes/yesterday"}}
        answer = self.call("takeVersions", {"from": "ark-1", "dryRun": True, "versions": [version]})
        assert [fate.outcome for fate in answer.fates] == ["added"], answer

    def listNodes(self):
        listed = self.call("listNodes", type="note", limit=5)
        assert [node.id for node in listed.nodes] == ["notes/today"], listed

    def syncNodes(self):
        answer = self.call("syncNodes", {"nodes": [{"id": "unheard-of", "hash": "x"}]})
        assert answer.wanted == ["unheard-of"] and any(node.id == "notes/today" for node in answer.nodes), answer

    def deleteNode(self):
        assert self.call("deleteNode", id="notes/today").status == "deleted"

    def listConflicts(self):
        assert self.call("listConflicts", limit=5, contents=True).total == 0

    def listenToEvents(self):
        assert b"id: " in self.call("listenToEvents", seconds=0)

    def addFederationPeer(self):
        # Nobody listens there.
        added = self.call("addFederationPeer", {"peerUrl": "http://127.0.0.1:1", "filter": {"types": ["note"]}})
        assert (added.status, added.totalPeers) == ("added", 1), added

    def listFederationPeers(self):
        (peer,) = self.call("listFederationPeers").peers
        assert (peer.url, peer.filter.types, peer.lastSync) == ("http://127.0.0.1:1", ["note"], None), peer

    def syncFederation(self):
        (round,) = self.call("syncFederation", {"peerUrl": "http://127.0.0.1:1"}).result
        assert not round.success and round.error, round

    def getFederationStatus(self):
        status = self.call("getFederationStatus")
        assert status.isRunning and status.stats.failures == 1 and status.lattice.nodes == 0, status

    def listFederationRounds(self):
        assert self.call("listFederationRounds", peer="http://127.0.0.1:1", limit=1).rounds[0].outcome == "failed"

    def confirmFederationDeletions(self):
        self.refuses("confirmFederationDeletions", "no_deletions_wait", data={"from": "ark-1"})

    def listFederationDeletions(self):
        assert self.call("listFederationDeletions", limit=1).deletions == []

    def refuseFederationDeletions(self):
        self.refuses("refuseFederationDeletions", "no_deletions_wait", data={"from": "ark-1"})

    def removeFederationPeer(self):
        assert self.call("removeFederationPeer", url="http://127.0.0.1:1").totalPeers == 0

    def discoverFederation(self):
        assert self.call("discoverFederation", {"timeoutSeconds": 1}).status == "ok"

    def startFederationAutoSync(self):
        assert self.call("startFederationAutoSync", {"intervalMs": 5000}).syncInterval == 5000

    def stopFederationAutoSync(self):
        assert self.call("stopFederationAutoSync").autoSync is False

    def stopFederation(self):
        assert self.call("stopFederation").status == "stopped"

    def startFederation(self):
        assert self.call("startFederation").instanceId == "ark-under-test"

    def getFederationInfo(self):
        assert self.call("getFederationInfo").instanceName == "ARK-local-ark-unde"

    def pushFederationNodes(self):
        answer = self.call("pushFederationNodes", {"nodes": [{"id": "pushed", "updated_at": 1}, {"id": ""}]})
        assert (answer.received, answer.accepted, answer.skippedTotal) == (2, 1, 1), answer

    def getFederationNodes(self):
        assert [node.id for node in self.call("getFederationNodes", since=1).nodes] == ["pushed"]

    def getFederationStand(self):
        assert self.call("getFederationStand").nodeCount == 1

    def listLiveFederationPeers(self):
        (peer,) = self.call("listLiveFederationPeers").peers
        assert peer.instanceId == "ark-generated-client" and peer.publicKey == self.sent["pubkey"], peer

    def refuses(self, operation, code, **parameters):
        try:
            self.call(operation, **parameters)
        except HTTPClientError as error:
            assert json.loads(error.data)["code"] == code, error
        else:
            raise AssertionError(f"{operation} was not refused")

    def getConflict(self):
        self.refuses("getConflict", "conflict_not_found", number=1)

    def restoreConflict(self):
        self.refuses("restoreConflict", "conflict_not_found", number=1)

    def dismissConflict(self):
        self.refuses("dismissConflict", "conflict_not_found", number=1)

    def establishTrust(self):
        # Nobody listens there.
        self.refuses("establishTrust", "trust_not_established", data={"peer_address": "http://127.0.0.1:1", "peer_id": "a"})

    def verifyTrust(self):
        verified = self.call("verifyTrust", {"peer_id": "ark-verified", "public_key": self.sent["pubkey"], "reason": "seen"})
        assert (verified.trust_level, verified.by) == ("verified", "operator"), verified

    def listTrustRelationships(self):
        assert [it.peer_id for it in self.call("listTrustRelationships").relationships] == ["ark-verified"]

    def getTrustRelationship(self):
        (shown,) = self.call("getTrustRelationship", peer_id="ark-verified").relationships
        assert len(shown.words.split()) == 8, shown

    def vouchForPeer(self):
        assert self.call("vouchForPeer", {"peer_id": "ark-verified"}).told == 0

    def revokeTrust(self):
        (revoked,) = self.call("revokeTrust", {"peer_id": "ark-verified"}).relationships
        assert revoked.trust_level == "revoked", revoked

    def listInstances(self):
        assert [node.id for node in self.call("listInstances", limit=5).nodes] == ["ark-generated-client"]

    def discoverInstances(self):
        assert self.call("discoverInstances", {"discovery_method": "manual"}).count == 0

    def createInvite(self):
        self.invited = self.call("createInvite", {"addresses": ["http://127.0.0.1:1"], "expiresSeconds": 60})
        assert self.invited.status == "invited" and self.invited.line.startswith("ark-invite:v1:"), self.invited

    def listInvites(self):
        assert [invite.id for invite in self.call("listInvites").invites] == [self.invited.id]

    def joinByInvite(self):
        self.refuses("joinByInvite", "invalid_invite", data={"line": "ark-invite:v1:cut"})

    def revokeInvite(self):
        assert self.call("revokeInvite", id=self.invited.id).status == "revoked"

    def listPendingInstances(self):
        assert self.call("listPendingInstances").count == 0

    def acceptPendingInstance(self):
        self.refuses("acceptPendingInstance", "key_unknown", peer_id="ark-unknown", data={"reason": "seen"})

    def refusePendingInstance(self):
        self.refuses("refusePendingInstance", "key_unknown", peer_id="ark-unknown", data={})

    def getHealth(self):
        assert self.call("getHealth").lattice.status == "ok"

    def getReadiness(self):
        assert self.call("getReadiness").status == "ready"

    def getMetrics(self):
        assert b"ark_peers_live 1" in self.call("getMetrics")

    def getOpenapi(self):
        assert self.call("getOpenapi").openapi == "3.1.0"


def main():
    base, token = sys.argv[1].rstrip("/"), sys.argv[2]
    calls = Calls(OpenAPI.load_sync(f"{base}/openapi.json"), token)
    wanted = [name for name in vars(Calls) if not name.startswith("__") and name not in ("call", "refuses")]
    # A new route needs a call here.
    assert set(calls.api._) == set(wanted), set(calls.api._) ^ set(wanted)
    for name in wanted:
        getattr(calls, name)()
    assert len(wanted) == calls.routes, f"{calls.routes} routes, {len(wanted)} operations"
    print(f"{len(wanted)} operations called")


if __name__ == "__main__":
    main()
