"""Tests of the client by itself. ``python3 -m unittest`` in this directory; PyNaCl and cryptography are needed, no network is.

The service below is a stand-in for cases that a real one does not produce on demand (odd answers, 503, a cut page). That the
client works with the real service is tested by the Rust test suite, which runs this client against it.
"""

import base64
import contextlib
import hashlib
import http.server
import io
import json
import os
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import ark_lattice as ark  # noqa: E402

# RFC 8032, section 7.1, test 1.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


def double(bits):
    return struct.unpack(">d", bytes.fromhex(bits))[0]


class CanonicalJson(unittest.TestCase):
    def test_the_numbers_of_rfc_8785_appendix_b(self):
        for bits, text in {
            "0000000000000000": "0",
            "8000000000000000": "0",
            "0000000000000001": "5e-324",
            "8000000000000001": "-5e-324",
            "7fefffffffffffff": "1.7976931348623157e+308",
            "ffefffffffffffff": "-1.7976931348623157e+308",
            "4340000000000000": "9007199254740992",
            "c340000000000000": "-9007199254740992",
            "4430000000000000": "295147905179352830000",
            "44b52d02c7e14af5": "9.999999999999997e+22",
            "44b52d02c7e14af6": "1e+23",
            "44b52d02c7e14af7": "1.0000000000000001e+23",
            "444b1ae4d6e2ef4e": "999999999999999700000",
            "444b1ae4d6e2ef4f": "999999999999999900000",
            "444b1ae4d6e2ef50": "1e+21",
            "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
            "3eb0c6f7a0b5ed8d": "0.000001",
            "41b3de4355555553": "333333333.3333332",
            "41b3de4355555554": "333333333.33333325",
            "41b3de4355555555": "333333333.3333333",
            "41b3de4355555556": "333333333.3333334",
            "41b3de4355555557": "333333333.33333343",
            "becbf647612f3696": "-0.0000033333333333333333",
            "43143ff3c1cb0959": "1424953923781206.2",
        }.items():
            with self.subTest(bits):
                self.assertEqual(ark.canonical_json(double(bits)), text.encode())

    def test_more_floats(self):
        for number, text in {0.1: "0.1", 1e-7: "1e-7", 6.02214076e23: "6.02214076e+23", 100.0: "100", -273.15: "-273.15"}.items():
            self.assertEqual(ark.canonical_json(number), text.encode())

    def test_every_float_reads_back(self):
        state = hashlib.sha256(b"floats")
        for _ in range(5000):
            state.update(b".")
            (number,) = struct.unpack(">d", state.digest()[:8])
            if number == number and abs(number) != float("inf"):
                self.assertEqual(float(ark.canonical_json(number)), number)

    def test_the_sample_of_rfc_8785_section_3_2_2(self):
        source = (
            b'{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],'
            b'"string": "\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/", "literals": [null, true, false]}'
        )
        self.assertEqual(
            ark.canonical_json(ark.parse_json(source)),
            '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
            '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'.encode(),
        )

    def test_the_key_order_of_rfc_8785_section_3_2_3(self):
        keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
        written = ark.parse_json(ark.canonical_json({key: 0 for key in keys}))
        self.assertEqual(list(written), ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"])

    def test_integers_keep_every_digit(self):
        for number in (2**53 + 1, 2**64, -(2**63) - 1, 10**40 + 7):
            self.assertEqual(ark.canonical_json(number), str(number).encode())
        self.assertNotEqual(ark.content_hash({"n": 2**53}), ark.content_hash({"n": 2**53 + 1}))

    def test_control_characters(self):
        self.assertEqual(ark.canonical_json("\x00\b\t\n\f\r\x1f\x7f/"), b'"\\u0000\\b\\t\\n\\f\\r\\u001f\x7f/"')

    def test_what_is_not_json_is_refused(self):
        deep = []
        for _ in range(100_000):
            deep = [deep]
        for value in (float("nan"), float("inf"), "\ud800", {"\udc00": 1}, {1: 2}, {1, 2}, object(), deep):
            with self.assertRaises(ValueError):
                ark.canonical_json(value)
        while deep:  # taken apart by hand: CPython's own destructor of deep lists is slow
            deep = deep[0]


class ParseJson(unittest.TestCase):
    def test_ambiguous_documents_are_refused(self):
        for source in (
            b'{"a": 1, "a": 1}',
            b'{"a": 1, "\\u0061": 2}',
            b"NaN",
            b"[-Infinity]",
            b"1e400",
            b'"\\ud800"',
            b'{"\\udc00": 1}',
            b"\xef\xbb\xbf{}",
            b'"\xff"',
            b"{} {}",
            b"",
            b"[" * 100_000,
        ):
            with self.subTest(source[:20]), self.assertRaises(ValueError):
                ark.parse_json(source)

    def test_a_surrogate_pair_is_one_character(self):
        self.assertEqual(ark.parse_json(b'"\\ud83d\\ude00"'), "\U0001f600")


class Hashes(unittest.TestCase):
    def test_what_is_nested_deeper_than_the_service_takes_has_no_hash(self):
        def nested(depth):
            return ark.parse_json(b"[" * depth + b"]" * depth)

        self.assertTrue(ark.content_hash(nested(64)).startswith("sha256:"))
        with self.assertRaisesRegex(ValueError, "nested more than 64"):
            ark.content_hash(nested(65))
        with self.assertRaisesRegex(ValueError, "nested more than 64"):
            ark.content_hash({"a": [nested(63)]})

    def test_content_hash_ignores_layout_but_not_content(self):
        first = ark.parse_json(b'{"id": "a", "value": 1.0}')
        second = ark.parse_json(b'{\n "value": 1, "id": "a"}')
        self.assertEqual(ark.content_hash(first), ark.content_hash(second))
        self.assertEqual(ark.content_hash(first), "sha256:" + hashlib.sha256(b'{"id":"a","value":1}').hexdigest())

    def test_the_hash_of_no_nodes_is_that_of_nothing(self):
        self.assertEqual(ark.manifest_hash([]), "sha256:" + hashlib.sha256(b"").hexdigest())

    def test_manifest_hash_step_by_step(self):
        # "n1" and "n4160" share a bucket, which the test looks for rather than assumes.
        def bucket(text):
            return hashlib.sha256(text.encode()).hexdigest()[:3]

        twin = next(f"n{number}" for number in range(2, 100_000) if bucket(f"n{number}") == bucket("n1"))
        other = next(f"m{number}" for number in range(100) if bucket(f"m{number}") > bucket("n1"))
        hashes = {name: ark.content_hash({"id": name}) for name in ("n1", twin, other)}
        pair = "".join(f"{name}\n{hashes[name]}\n" for name in sorted(("n1", twin)))
        single = f"{other}\n{hashes[other]}\n"
        text = "".join(
            f"{bucket(name)}\n{hashlib.sha256(content.encode()).hexdigest()}\n" for name, content in (("n1", pair), (other, single))
        )
        expected = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
        nodes = [{"id": name, "hash": hashes[name]} for name in hashes]
        self.assertEqual(ark.manifest_hash(nodes), expected)
        self.assertEqual(ark.manifest_hash(reversed(nodes)), expected)


class Keys(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "ark.key")

    def test_a_key_is_private_and_never_overwritten(self):
        ark.save_key(self.path, SEED)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        with self.assertRaisesRegex(ark.ArkError, "never overwritten"):
            ark.save_key(self.path, bytes(32))
        self.assertEqual(ark.load_key(self.path), SEED)

    def test_the_public_key_of_rfc_8032(self):
        self.assertEqual(ark.public_key(SEED), PUBLIC)

    def test_the_environment_stands_in_for_a_file(self):
        with mock.patch.dict(os.environ, {ark.KEY_VARIABLE: base64.b64encode(SEED).decode()}):
            self.assertEqual(ark.load_key(), SEED)
        with mock.patch.dict(os.environ, {ark.KEY_VARIABLE: ""}), self.assertRaisesRegex(ark.ArkError, "no private key"):
            ark.load_key()

    def test_a_bad_key_is_refused_and_not_repeated(self):
        for text in ("secret!", base64.b64encode(b"short").decode(), SEED.hex()):
            with self.assertRaises(ark.ArkError) as caught:
                ark.decode_key(text)
            self.assertNotIn(text, str(caught.exception))


class Signing(unittest.TestCase):
    def test_what_is_signed_is_what_cpython_writes(self):
        from nacl.signing import VerifyKey

        manifest = {"node_id": "ark-1", "nodes": [], "z": [0.1, 1e-7, 2**64, None], "é": "\U0001f600\x7f"}
        envelope = ark.sign_manifest(manifest, SEED)
        self.assertEqual(envelope["pubkey"], PUBLIC)
        payload = b'{"node_id": "ark-1", "nodes": [], "z": [0.1, 1e-07, 18446744073709551616, null], '
        payload += b'"\\u00e9": "\\ud83d\\ude00\\u007f"}'
        VerifyKey(base64.b64decode(PUBLIC)).verify(payload, base64.b64decode(envelope["signature"]))

    def test_both_libraries_sign_the_same_bytes(self):
        manifest = {"node_id": "ark-1", "nodes": [{"id": "\u00e9", "hash": "x"}]}
        made = []
        for library in ("pynacl", "cryptography"):
            with mock.patch.dict(os.environ, {ark.CRYPTO_VARIABLE: library}):
                self.assertEqual(ark.public_key(SEED), PUBLIC)
                made.append(ark.sign_manifest(manifest, SEED))
        self.assertEqual(made[0], made[1])

    def test_a_missing_library_is_named(self):
        def run(hidden, chosen=None):
            code = (
                "import sys\nfor name in sys.argv[1].split(','): sys.modules[name] = None\n"
                "import ark_lattice\nsys.exit(ark_lattice.main(['keygen', '--print-secret']))"
            )
            environment = {**os.environ, ark.CRYPTO_VARIABLE: chosen or ""}
            folder = os.path.dirname(os.path.abspath(ark.__file__))
            return subprocess.run(
                [sys.executable, "-c", code, hidden], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )

        for hidden in ("nacl.signing", "cryptography"):
            self.assertEqual(run(hidden).returncode, 0, hidden)
        neither = run("nacl.signing,cryptography")
        self.assertEqual(neither.returncode, 1)
        self.assertIn("PyNaCl or cryptography is needed", neither.stderr)
        self.assertEqual(neither.stderr.count("\n"), 1)
        chosen = run("cryptography", chosen="cryptography")
        self.assertEqual(chosen.returncode, 1)
        self.assertIn("pip install cryptography", chosen.stderr)
        self.assertIn("known are pynacl and cryptography", run("none", chosen="rot13").stderr)

    def test_a_manifest_has_what_the_service_needs(self):
        node = {"id": "a", "hash": "sha256:" + "0" * 64, "type": "snippet", "updated_at": 1}
        manifest = ark.build_manifest([node], "ark-1", "pi", seq=7, now=1699564800)
        self.assertEqual(
            manifest,
            {
                "node_id": "ark-1",
                "instance_type": "pi",
                "version": "1.0.0",
                "last_updated": 1699564800,
                "nodes": [node],
                "seq": 7,
            },
        )
        for node_id, seq in (("", 1), ("a\n", 1), ("a", -1), ("a", 1 << 53)):
            with self.assertRaises(ValueError):
                ark.build_manifest([], node_id, seq=seq)

    def test_a_manifest_states_when_it_was_signed(self):
        self.assertEqual(ark.with_issued_at({"node_id": "a"}, now=7), {"node_id": "a", "issued_at": 7})
        self.assertEqual(ark.with_issued_at({"issued_at": 5}, now=7), {"issued_at": 5})


class FileNames(unittest.TestCase):
    def test_ids_become_safe_names(self):
        for node_id, name in {
            "a.b_c-D:9": "a.b_c-D:9.json",
            "math/π-approximations": "math%2F%CF%80-approximations.json",
            "..": "%2E..json",
            "../x": "%2E.%2Fx.json",
            ".hidden": "%2Ehidden.json",
            "manifest": "%6Danifest.json",
            "100%": "100%25.json",
            "a b\\c": "a%20b%5Cc.json",
        }.items():
            self.assertEqual(ark.file_name(node_id), name)

    def test_unusable_ids_are_refused(self):
        for node_id in ("", "a" * 257, "a\0b", "\x85", "\ud800", 7, None):
            with self.assertRaises(ValueError):
                ark.file_name(node_id)


class WithDirectory(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def write(self, name, content):
        with open(os.path.join(self.directory, name), "wb") as file:
            file.write(content)

    def read(self, name):
        with open(os.path.join(self.directory, name), "rb") as file:
            return file.read()


class Directories(WithDirectory):
    def test_a_broken_file_blocks_no_other(self):
        self.write("good.json", b'{"id": "good", "type": "snippet", "updated_at": "2024-01-01T00:00:00Z", "value": 18446744073709551616}')
        self.write("other.json", b'{"id": "another"}')
        self.write("list.json", b"[]")
        self.write("torn.json", b'{"id": "to')
        self.write("no-id.json", b"{}")
        self.write("manifest.json", b"ours")
        self.write(".hidden.json", b'{"id": ".hidden"}')
        self.write("notes.txt", b"")
        os.mkdir(os.path.join(self.directory, "folder.json"))
        os.symlink("good.json", os.path.join(self.directory, "link.json"))
        os.mkfifo(os.path.join(self.directory, "pipe.json"))
        found = ark.read_directory(self.directory)
        content = b'{"id":"good","type":"snippet","updated_at":"2024-01-01T00:00:00Z","value":18446744073709551616}'
        expected = {
            "id": "good",
            "hash": "sha256:" + hashlib.sha256(content).hexdigest(),
            "type": "snippet",
            "updated_at": "2024-01-01T00:00:00Z",
        }
        self.assertEqual(found.nodes, [expected])
        broken = ["folder.json", "link.json", "list.json", "no-id.json", "other.json", "pipe.json", "torn.json"]
        self.assertEqual([name for name, _ in found.broken], broken)

    def test_a_written_node_keeps_its_hash(self):
        node = {"id": "math/π", "value": [0.1, 1e-7, 6.02214076e23, 2**64 + 1, -0.0, "\u2028\x7f", {"é": None}]}
        name = ark.write_node(self.directory, node)
        self.assertEqual(name, "math%2F%CF%80.json")
        self.assertEqual(ark.read_directory(self.directory).nodes, [{"id": "math/π", "hash": ark.content_hash(node)}])
        self.assertEqual(os.listdir(self.directory), [name])

    def test_a_failed_write_leaves_the_old_file_and_nothing_else(self):
        ark.write_node(self.directory, {"id": "a", "value": 1})
        before = self.read("a.json")
        with mock.patch("os.replace", side_effect=OSError(28, "No space left on device")), self.assertRaises(OSError):
            ark.write_node(self.directory, {"id": "a", "value": 2})
        self.assertEqual(self.read("a.json"), before)
        self.assertEqual(os.listdir(self.directory), ["a.json"])

    def test_a_write_is_on_disk_before_it_is_seen(self):
        calls = []
        fsync, replace = os.fsync, os.replace
        with mock.patch("os.fsync", side_effect=lambda fd: (calls.append("fsync"), fsync(fd))), mock.patch(
            "os.replace", side_effect=lambda *names: (calls.append("replace"), replace(*names))
        ):
            ark.write_node(self.directory, {"id": "a"})
        self.assertEqual(calls, ["fsync", "replace", "fsync"])

    def test_ids_that_differ_by_case_do_not_overwrite_each_other(self):
        ark.write_node(self.directory, {"id": "Node"})
        if os.path.exists(os.path.join(self.directory, "node.json")):  # a file system that ignores case
            with self.assertRaises(ValueError):
                ark.write_node(self.directory, {"id": "node"})
        with mock.patch("os.path.lexists", return_value=True), self.assertRaisesRegex(ValueError, "lower case"):
            ark.write_node(self.directory, {"id": "NODE"})


class StandIn(http.server.BaseHTTPRequestHandler):
    """Answers each request from a script: a list of (status, content type, body) in ``server.script``."""

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, ark.parse_json(body) if body else None))
        status, content_type, answer = self.server.script.pop(0)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, *_):
        pass


class WithService(WithDirectory):
    def setUp(self):
        super().setUp()
        self.server = http.server.HTTPServer(("127.0.0.1", 0), StandIn)
        self.server.script, self.server.seen = [], []
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, value, status=200, content_type="application/json"):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.server.script.append((status, content_type, body))

    def run_command(self, *arguments):
        """Exit code, standard output, standard error."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = ark.main(arguments)
            except SystemExit as stop:
                code = stop.code
        return code, out.getvalue(), err.getvalue()


class Pull(WithService):
    def test_the_next_pull_after_a_pull_has_nothing_to_do(self):
        ark.write_node(self.directory, {"id": "old", "value": 1})
        ark.write_node(self.directory, {"id": "mine", "value": 1})
        new = {"id": "math/π", "value": [1e-7, 2**64]}
        self.answer({"delta_count": 2, "nodes": [{"id": "old", "value": 2}], "wanted": ["mine"], "cursor": "next"})
        self.answer({"delta_count": 2, "nodes": [new], "manifest_hash": "sha256:x"})
        result = ark.Client(self.url).pull(self.directory)
        self.assertEqual((result.added, result.changed, result.wanted), (["math/π"], ["old"], ["mine"]))
        first, second = (body for _, _, body in self.server.seen)
        self.assertEqual(second, {**first, "cursor": "next"})
        self.assertEqual(first["manifest_hash"], ark.manifest_hash(first["nodes"]))
        nodes = ark.read_directory(self.directory).nodes
        hashes = {node["id"]: node["hash"] for node in nodes}
        self.assertEqual(hashes["math/π"], ark.content_hash(new))
        self.assertEqual(hashes["old"], ark.content_hash({"id": "old", "value": 2}))
        self.assertEqual(result.local_manifest_hash, ark.manifest_hash(nodes))
        self.assertEqual(len(result.kept_as), 1)
        self.assertEqual(ark.read_node(os.path.join(self.directory, result.kept_as[0])), {"id": "old", "value": 1})

    def test_what_is_kept_is_numbered_and_never_replaced(self):
        path, kept = os.path.join(self.directory, "a.json"), set()
        for content in (b"one", b"two", b"one"):
            with open(path, "wb") as file:
                file.write(content)
            kept.add(ark.keep_overruled(self.directory, "a.json"))
        self.assertEqual(kept, {".ark-overruled/a.json~7692c3ad", ".ark-overruled/a.json~3fc4ccfe"})
        with open(os.path.join(self.directory, ".ark-overruled/a.json~3fc4ccfe"), "wb") as file:
            file.write(b"else")
        with open(path, "wb") as file:
            file.write(b"two")
        self.assertEqual(ark.keep_overruled(self.directory, "a.json"), ".ark-overruled/a.json~3fc4ccfe.2")
        self.assertIsNone(ark.keep_overruled(self.directory, "missing.json"))

    def test_a_dry_run_writes_nothing(self):
        self.answer({"delta_count": 1, "nodes": [{"id": "a"}]})
        code, out, _ = self.run_command("pull", "--from", self.url, "--dir", self.directory, "--dry-run")
        self.assertEqual((code, out), (0, "+ a\n1 would be added, 0 would be changed, 0 only here\n"))
        self.assertEqual(os.listdir(self.directory), [])

    def test_bad_nodes_are_refused_and_good_ones_taken(self):
        bad = [[], {}, {"id": 7}, {"id": ""}, {"id": "a\u0000"}, {"id": "good", "value": "again"}]
        self.answer({"delta_count": 7, "nodes": [{"id": "good"}] + bad})
        code, out, err = self.run_command("pull", "--from", self.url, "--dir", self.directory, "--json")
        self.assertEqual(code, 5)
        self.assertEqual(len(ark.parse_json(out.encode())["refused"]), len(bad))
        self.assertEqual(os.listdir(self.directory), ["good.json"])
        self.assertEqual(ark.read_node(os.path.join(self.directory, "good.json")), {"id": "good"})
        self.assertNotIn("\0", err)

    def test_an_id_cannot_leave_the_directory(self):
        self.answer({"delta_count": 1, "nodes": [{"id": "../../outside"}]})
        ark.Client(self.url).pull(self.directory)
        self.assertEqual(os.listdir(self.directory), ["%2E.%2F..%2Foutside.json"])

    def test_a_cursor_that_does_not_move_is_an_error(self):
        for _ in range(2):
            self.answer({"delta_count": 0, "nodes": [], "cursor": "same"})
        with self.assertRaisesRegex(ark.Unreachable, "same cursor"):
            ark.Client(self.url).pull(self.directory)

    def test_a_directory_that_is_not_there_is_an_error(self):
        missing = os.path.join(self.directory, "missing")
        self.assertEqual(self.run_command("pull", "--from", self.url, "--dir", missing)[0], 1)
        self.assertEqual(self.server.seen, [])


class Command(WithService):
    def test_publish_and_discover(self):
        key = os.path.join(self.directory, "ark.key")
        nodes = os.path.join(self.directory, "nodes")
        os.mkdir(nodes)
        ark.write_node(nodes, {"id": "a", "type": "snippet", "updated_at": 1.5})
        code, out, _ = self.run_command("keygen", "--out", key)
        self.assertEqual((code, out), (0, ark.public_key(ark.load_key(key)) + "\n"))
        self.answer({"status": "registered", "node_id": "ark-1", "expires_in": 120})
        code, out, _ = self.run_command("publish", "--to", self.url, "--key", key, "--dir", nodes, "--node-id", "ark-1")
        self.assertEqual((code, out), (0, "registered ark-1, expires in 120 s\n"))
        method, path, envelope = self.server.seen[0]
        self.assertEqual((method, path), ("POST", "/manifest"))
        self.assertEqual(envelope, ark.sign_manifest(envelope["manifest"], ark.load_key(key)))
        self.answer({"peers": [{"node_id": "ark-1", "expires_in": 119}], "count": 2, "cursor": "c+/="})
        self.answer({"peers": [{"node_id": "ark-2"}, {"node_id": "ark-1"}], "count": 2})
        code, out, _ = self.run_command("discover", "--from", self.url + "/", "--instance-type", "local", "--json")
        self.assertEqual((code, [peer["node_id"] for peer in ark.parse_json(out.encode())["peers"]]), (0, ["ark-1", "ark-2"]))
        paths = [path for _, path, _ in self.server.seen[1:]]
        self.assertEqual(paths, ["/discover?instance_type=local", "/discover?instance_type=local&cursor=c%2B%2F%3D"])

    def test_a_refusal_shows_code_and_detail_on_one_line(self):
        problem = {"status": 409, "code": "rollback", "detail": "last_updated went back\x1b[2J"}
        self.answer(problem, status=409, content_type="application/problem+json")
        code, _, err = self.run_command("discover", "--from", self.url)
        self.assertEqual((code, err), (3, "error: the service refused (409 rollback): last_updated went back\\u{1b}[2J\n"))

    def test_a_failing_service_is_exit_code_4_and_no_service_is_3(self):
        self.answer(b"<html>", status=503, content_type="text/html")
        self.assertEqual(self.run_command("discover", "--from", self.url)[0], 4)
        self.answer(b"<html>", content_type="text/html")
        self.assertEqual(self.run_command("discover", "--from", self.url)[0], 3)
        self.answer({"peers": {}})
        self.assertEqual(self.run_command("discover", "--from", self.url)[0], 3)
        with mock.patch("urllib.request.urlopen", side_effect=ConnectionRefusedError(111, "refused")):
            code, _, err = self.run_command("discover", "--from", self.url)
        self.assertEqual((code, err.count("\n")), (4, 1))

    def test_a_secret_goes_into_no_pipe_unless_it_is_asked_for(self):
        code, out, err = self.run_command("keygen")
        self.assertEqual((code, out), (2, ""))
        self.assertIn("--print-secret", err)
        code, out, _ = self.run_command("keygen", "--print-secret")
        self.assertEqual((code, out.count("\n")), (0, 2))

    def test_mistakes_in_the_call_are_exit_code_2(self):
        for arguments in (
            [],
            ["publish", "--to", self.url],
            ["discover", "--from", "ftp://example.org"],
            ["discover", "--from", "http://[::1"],
            ["discover", "--from", "http://localhost:99999"],
            ["discover", "--from", self.url, "--timeout", "0"],
        ):
            with self.subTest(arguments):
                code, _, err = self.run_command(*arguments)
                self.assertEqual(code, 2)
                self.assertTrue(err.startswith("error: "), err)
        code, _, err = self.run_command("hash", os.path.join(self.directory, "missing.json"))
        self.assertEqual((code, err.startswith("error: ")), (1, True))

    def test_build_then_sign_through_a_pipe(self):
        ark.write_node(self.directory, {"id": "п", "type": "snippet"})
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ark_lattice.py")
        environment = {**os.environ, ark.KEY_VARIABLE: base64.b64encode(SEED).decode(), "ARK_NODE_ID": "ark-π", "LC_ALL": "C"}
        built = subprocess.run(
            [sys.executable, script, "build", self.directory, "--seq", "3"], env=environment, capture_output=True, check=True
        )
        signed = subprocess.run(
            [sys.executable, script, "sign", "-"], env=environment, input=built.stdout, capture_output=True, check=True
        )
        manifest = ark.parse_json(built.stdout)
        self.assertEqual((manifest["node_id"], manifest["seq"], manifest["nodes"][0]["id"]), ("ark-π", 3, "п"))
        self.assertEqual(ark.parse_json(signed.stdout), ark.sign_manifest(manifest, SEED))

    def test_hash_of_a_file(self):
        name = ark.write_node(self.directory, {"id": "a"})
        path = os.path.join(self.directory, name)
        code, out, _ = self.run_command("hash", path, "--json")
        self.assertEqual(code, 0)
        self.assertEqual(
            ark.parse_json(out.encode()),
            {"content_hash": ark.content_hash({"id": "a"}), "file_hash": hashlib.sha256(self.read(name)).hexdigest()},
        )


if __name__ == "__main__":
    unittest.main()
