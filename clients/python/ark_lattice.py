#!/usr/bin/env python3
"""A client for ark-lattice in one file: Python 3.9 or later, the standard library, and PyNaCl or cryptography.

As a command::

    python3 ark_lattice.py keygen --out ark.key
    python3 ark_lattice.py publish --to http://localhost:9001 --key ark.key --dir lattice_data --node-id ark-1
    python3 ark_lattice.py discover --from http://localhost:9001
    python3 ark_lattice.py pull --from http://localhost:9001 --dir lattice_copy

As a module::

    import ark_lattice
    nodes = ark_lattice.read_directory("lattice_data").nodes
    manifest = ark_lattice.build_manifest(nodes, node_id="ark-1")
    envelope = ark_lattice.sign_manifest(manifest, ark_lattice.load_key("ark.key"))
    ark_lattice.Client("http://localhost:9001").publish(envelope)

Exit codes, those of the ark-lattice command: 0 done; 1 failed here; 2 wrong usage; 3 refused by the service (4xx), or it is none;
4 it cannot be reached or failed (5xx): may be tried again; 5 something was refused here; 130 stopped by Ctrl-C.

PyNaCl or cryptography is needed to make keys and to sign, nothing else: ``discover``, ``pull``, ``build`` and ``hash`` work without.
Where both are installed PyNaCl is used; ``ARK_CRYPTO=pynacl`` or ``ARK_CRYPTO=cryptography`` chooses. Signatures are the same bytes.

Proxies are those of the environment (``http_proxy``, ``https_proxy``, ``no_proxy``). Certificates are checked against the system's
authorities or those of ``SSL_CERT_FILE``, and those of ``--ca-file``.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import hashlib
import hmac
import http.client
import itertools
import json
import math
import os
import re
import socket
import ssl
import stat
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, NoReturn, Optional, Sequence, Tuple

__version__ = "0.1.0"

#: Seconds to wait for the service: for the connection and for each read.
DEFAULT_TIMEOUT = 30.0
#: The environment variable that holds the private key (base64 of the 32-byte seed) where no ``--key`` is given.
KEY_VARIABLE = "ARK_FED_PRIVKEY"
#: The environment variable that holds the key of the service's network, where it has one.
NETWORK_VARIABLE = "FEDERATION_NETWORK_KEY"
#: The environment variable that chooses the library for signatures: ``pynacl`` or ``cryptography``.
CRYPTO_VARIABLE = "ARK_CRYPTO"
#: The largest single answer that is read, bytes.
MAX_ANSWER = 1 << 30
#: An id has 1 to this many characters, none of them a control character.
MAX_ID_CHARS = 256
#: The service takes no node that is nested deeper; ``[]`` has depth 1.
MAX_DEPTH = 64

Json = Any
Node = Dict[str, Json]

# Those of the ark-lattice command, from the table in the README of the project.
EXIT_OK, EXIT_LOCAL, EXIT_USAGE, EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_DIFFERS, EXIT_INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


class ArkError(Exception):
    """Something went wrong here: a bad argument, a bad file, a full disk."""

    exit_code = EXIT_LOCAL


class UsageError(ArkError):
    """Wrong usage: an argument is missing, or none that can be used."""

    exit_code = EXIT_USAGE


class Refused(ArkError):
    """The service answered 4xx. ``code`` and ``detail`` are those of its problem document (RFC 9457)."""

    exit_code = EXIT_REFUSED

    def __init__(self, status: int, code: Optional[str], detail: str) -> None:
        self.status, self.code, self.detail = status, code, detail
        super().__init__(f"the service refused ({status}{' ' + code if code else ''}): {detail}")


class Unreachable(ArkError):
    """The service cannot be reached, answered 5xx, or answered with something that is not its protocol."""

    exit_code = EXIT_UNAVAILABLE


class NotAService(Unreachable):
    """What answers is no ark-lattice service, or not the one that was expected."""

    exit_code = EXIT_REFUSED


# --- JSON -----------------------------------------------------------------------------------------------------------


def _no_duplicates(pairs: List[Tuple[str, Json]]) -> Dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} occurs twice in one object")
            seen.add(key)
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def parse_json(text: bytes) -> Json:
    """Reads one JSON document. Integers keep every digit. Refuses what two readers could understand differently: duplicate
    keys, NaN and Infinity (also by overflow), lone surrogates, and any encoding but UTF-8 without a byte order mark.

    Raises ``ValueError``.
    """
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check_scalars(value)
    return value


def _check_scalars(value: Json) -> None:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            try:
                item.encode("utf-8")
            except UnicodeEncodeError:
                raise ValueError("a text holds a lone surrogate") from None
        elif isinstance(item, float):
            if not math.isfinite(item):
                raise ValueError("a number is too large for a double")
        elif isinstance(item, dict):
            pending.extend(item.keys())
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


_ESCAPED = re.compile(r'["\\\x00-\x1f]')
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def _jcs_string(text: str) -> str:
    return '"' + _ESCAPED.sub(lambda found: _ESCAPES.get(found[0]) or f"\\u{ord(found[0]):04x}", text) + '"'


def _jcs_float(number: float) -> str:
    """ECMAScript's ``Number::toString``. ``repr`` has the same digits (the fewest that read back), placed otherwise."""
    if not math.isfinite(number):
        raise ValueError(f"{number!r} is not JSON")
    if number == 0:
        return "0"  # also for -0.0
    sign = "-" if number < 0 else ""
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + fraction
    # The value is 0.DIGITS times ten to the power of `point`.
    point = len(whole) + int(exponent or 0)
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    digits = stripped.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    rest = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{rest}e{point - 1:+d}"


def canonical_json(value: Json) -> bytes:
    """The RFC 8785 (JCS) bytes of a value, with one addition: integers beyond ±(2^53-1) keep their exact digits.

    Raises ``ValueError`` for what is not JSON: NaN, infinities, lone surrogates, keys that are not texts, other types.
    """
    parts: List[str] = []

    def write(item: Json) -> None:
        if item is None:
            parts.append("null")
        elif item is True:
            parts.append("true")
        elif item is False:
            parts.append("false")
        elif isinstance(item, str):
            parts.append(_jcs_string(item))
        elif isinstance(item, int):
            parts.append(_int_text(item))
        elif isinstance(item, float):
            parts.append(_jcs_float(item))
        elif isinstance(item, (list, tuple)):
            parts.append("[")
            for at, child in enumerate(item):
                if at:
                    parts.append(",")
                write(child)
            parts.append("]")
        elif isinstance(item, Mapping):
            if not all(isinstance(key, str) for key in item):
                raise ValueError("an object's keys must be texts")
            parts.append("{")
            # The order of UTF-16 code units is that of their big-endian bytes.
            for at, key in enumerate(sorted(item, key=lambda key: key.encode("utf-16-be", "surrogatepass"))):
                parts.append(f"{',' if at else ''}{_jcs_string(key)}:")
                write(item[key])
            parts.append("}")
        else:
            raise ValueError(f"{type(item).__name__} is not JSON")

    try:
        write(value)
        return "".join(parts).encode("utf-8")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("a text holds a lone surrogate") from None


def _int_text(number: int) -> str:
    try:
        return int.__repr__(number)
    except ValueError:  # CPython's guard against very long integers (4300 digits)
        raise ValueError("an integer has too many digits") from None


def content_hash(value: Json) -> str:
    """The content hash of a node: ``sha256:`` and the lower-case hex SHA-256 of its :func:`canonical_json`.

    Raises ``ValueError`` for what no service takes: what :func:`canonical_json` refuses, and what is nested too deeply.
    """
    level, depth = [value], 0
    while level:
        level = [item for item in level if isinstance(item, (dict, list, tuple))]
        depth += bool(level)
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()


def file_hash(path: str) -> str:
    """The hex SHA-256 of a file's bytes. The service takes it in place of the content hash, when its own file is the same."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def manifest_hash(nodes: Iterable[Mapping[str, Json]]) -> str:
    """The hash of a set of nodes, each with ``id`` and ``hash``: what the service calls ``manifest_hash``.

    Nodes go into 4096 buckets by the first three hex digits of SHA-256(id); a bucket's hash is SHA-256 over ``id`` LF ``hash``
    LF of its nodes in order of id; the set's is SHA-256 over ``bucket`` LF ``bucket's hash`` LF of the buckets in use.
    """
    buckets: Dict[str, List[Tuple[bytes, bytes]]] = {}
    for node in nodes:
        key = node["id"].encode("utf-8")
        buckets.setdefault(hashlib.sha256(key).hexdigest()[:3], []).append((key, node["hash"].encode("ascii")))
    top = hashlib.sha256()
    for name in sorted(buckets):
        bucket = hashlib.sha256(b"".join(key + b"\n" + value + b"\n" for key, value in sorted(buckets[name])))
        top.update(f"{name}\n{bucket.hexdigest()}\n".encode("ascii"))
    return "sha256:" + top.hexdigest()


# --- the data directory ---------------------------------------------------------------------------------------------

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
#: What cannot be seen, or changes what is seen: as ``src/types/printable.rs`` of the service has it.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f"
    "\u2800\u3000\u3164\ud800-\udfff\ue000-\uf8ff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffc\U00013430-\U0001343f"
    "\U00013441\U00013442\U00016fe4\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\U000f0000-\U0010ffff]"
)
_SHOWN = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
#: The longest file name that common file systems take.
_MAX_NAME_BYTES = 255
#: Ours to write beside the nodes, and never read.
_MANIFEST_FILE = "manifest.json"


def check_id(node_id: Json) -> str:
    """Hands an id back, or raises ``ValueError``: 1 to 256 characters, no control characters, no lone surrogates."""
    if not isinstance(node_id, str):
        raise ValueError("an id must be a text")
    if not 1 <= len(node_id) <= MAX_ID_CHARS:
        raise ValueError(f"an id has 1 to {MAX_ID_CHARS} characters, not {len(node_id)}")
    if _CONTROL.search(node_id):
        raise ValueError("an id must not hold control characters")
    if re.search(r"[\ud800-\udfff]", node_id):
        raise ValueError("an id must not hold a lone surrogate")
    return node_id


def file_name(node_id: str) -> str:
    """The name of a node's file: the id, with every byte outside ``[A-Za-z0-9._:-]`` percent-encoded, and ``.json``.

    A leading dot is encoded too (no hidden files, no ``..``), and so is the first letter of the id ``manifest``, whose plain
    name belongs to the service's own manifest. A name that would be longer than file systems take is cut, and carries the SHA-256
    of the id.
    """
    raw = check_id(node_id).encode("utf-8")
    encoded = [chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw]
    if raw.startswith(b".") or node_id == "manifest":
        encoded[0] = f"%{raw[0]:02X}"
    if len("".join(encoded)) <= _MAX_NAME_BYTES - len(".json"):
        return "".join(encoded) + ".json"
    tail = f"~{hashlib.sha256(raw).hexdigest()}.json"
    while len("".join(encoded)) > _MAX_NAME_BYTES - len(tail):
        encoded.pop()
    return "".join(encoded) + tail


@dataclass
class Directory:
    """What :func:`read_directory` found."""

    #: ``id``, ``type`` (where it is a text), ``hash`` (content hash) and ``updated_at`` (where there is one) of each node.
    nodes: List[Dict[str, Json]] = field(default_factory=list)
    #: File name and reason of each file that is not a node.
    broken: List[Tuple[str, str]] = field(default_factory=list)
    #: Every name in the directory, as the file system spells it.
    names: set = field(default_factory=set)


def read_node(path: str) -> Node:
    """Reads one node file. Symbolic links are not followed. Raises ``OSError`` or ``ValueError``."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        node = parse_json(file.read())
    if not isinstance(node, dict):
        raise ValueError("a node is a JSON object")
    check_id(node.get("id"))
    return node


def read_directory(path: str) -> Directory:
    """Reads every ``{id}.json`` of a directory, one at a time. A broken file is listed and blocks no other.

    Raises ``OSError`` where the directory itself cannot be read.
    """
    found = Directory()
    found.names.update(os.listdir(path))
    for name in sorted(found.names):
        if not name.endswith(".json") or name.startswith(".") or name == _MANIFEST_FILE:
            continue
        try:
            node = read_node(os.path.join(path, name))
            if file_name(node["id"]) != name:
                raise ValueError(f"holds the id {node['id']!r}, whose file would be {file_name(node['id'])}")
            entry: Dict[str, Json] = {"id": node["id"], "hash": content_hash(node)}
        except (OSError, ValueError) as error:
            found.broken.append((name, str(error)))
            continue
        if isinstance(node.get("type"), str):
            entry["type"] = node["type"]
        if "updated_at" in node:
            entry["updated_at"] = node["updated_at"]
        found.nodes.append(entry)
    return found


def write_node(directory: str, node: Node, names: Optional[set] = None) -> str:
    """Writes a node's file atomically and durably (temporary file in the same directory, fsync, rename, fsync of the
    directory) and hands its name back. A reader sees the old file or the new one, never a part of either.

    Raises ``ValueError`` for what is not a node, or where a file system that ignores case has another node under this name;
    ``OSError`` where the disk fails. ``names`` spares a look at the whole directory: the names that are known to be in it.
    """
    if not isinstance(node, dict):
        raise ValueError("a node is a JSON object")
    name = file_name(check_id(node.get("id")))
    content = (json.dumps(node, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    target = os.path.join(directory, name)
    if name not in (names or ()) and os.path.lexists(target) and name not in os.listdir(directory):
        raise ValueError(f"{name} would overwrite another node: this file system does not tell upper from lower case")
    temporary = os.path.join(directory, f".ark-{os.urandom(8).hex()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if names is not None:
        names.add(name)
    _fsync_directory(directory)
    return name


def keep_overruled(directory: str, name: str) -> Optional[str]:
    """Keeps the file ``name``, which is about to be replaced, as ``.ark-overruled/{name}~{hash}`` in ``directory``, as the service does, and
    hands that path back; ``None`` where there is no such file. What was kept before is never replaced.

    Raises ``OSError`` where the disk fails.
    """
    try:
        with open(os.path.join(directory, name), "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    folder = os.path.join(directory, ".ark-overruled")
    os.makedirs(folder, exist_ok=True)
    stem = name if len(name) <= 235 else hashlib.sha256(name.encode("utf-8")).hexdigest()
    base = f"{stem}~{hashlib.sha256(content).hexdigest()[:8]}"
    for number in itertools.count(1):
        kept = base if number == 1 else f"{base}.{number}"
        path = os.path.join(folder, kept)
        try:
            with open(path, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            with open(path, "rb") as file:
                if file.read() != content:
                    continue
        _fsync_directory(folder)
        _fsync_directory(directory)
        return f".ark-overruled/{kept}"
    return None


def _fsync_directory(path: str) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- keys and manifests ---------------------------------------------------------------------------------------------


def _with_pynacl(seed: bytes) -> Tuple[bytes, Callable[[bytes], bytes]]:
    from nacl.signing import SigningKey

    key = SigningKey(seed)
    return bytes(key.verify_key), lambda message: key.sign(message).signature


def _with_cryptography(seed: bytes) -> Tuple[bytes, Callable[[bytes], bytes]]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PrivateKey.from_private_bytes(seed)
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw), key.sign


_LIBRARIES = {"pynacl": _with_pynacl, "cryptography": _with_cryptography}


def _signer(seed: bytes) -> Tuple[bytes, Callable[[bytes], bytes]]:
    """The public key and the signing function of a seed."""
    chosen = os.environ.get(CRYPTO_VARIABLE)
    if chosen and chosen not in _LIBRARIES:
        raise ArkError(f"{CRYPTO_VARIABLE} is {chosen!r}; known are {' and '.join(_LIBRARIES)}")
    for library in [chosen] if chosen else _LIBRARIES:
        try:
            return _LIBRARIES[library](seed)
        except ImportError:
            continue
    if chosen:
        raise ArkError(f"{CRYPTO_VARIABLE} chooses {chosen}, which is not installed: python3 -m pip install {chosen}")
    raise ArkError("PyNaCl or cryptography is needed for this: python3 -m pip install pynacl (or cryptography)")


def generate_seed() -> bytes:
    """A new private key: 32 random bytes."""
    return os.urandom(32)


def public_key(seed: bytes) -> str:
    """The public key of a seed, in base64."""
    return base64.b64encode(_signer(seed)[0]).decode("ascii")


def save_key(path: str, seed: bytes) -> None:
    """Writes base64 of the seed to a new file that only its owner can read. Never overwrites: raises ``ArkError``."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ArkError(f"{path} exists already; a key is never overwritten") from None
    except OSError as error:
        raise ArkError(f"cannot write {path}: {error.strerror}") from None
    with open(descriptor, "wb") as file:
        file.write(base64.b64encode(seed) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    _fsync_directory(os.path.dirname(os.path.abspath(path)))


def decode_key(text: str) -> bytes:
    """The seed of base64 text. Raises ``ArkError``, which never repeats the text."""
    try:
        seed = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise ArkError("the private key is not base64") from None
    if len(seed) != 32:
        raise ArkError(f"the private key has {len(seed)} bytes; an Ed25519 seed has 32")
    return seed


def load_key(path: Optional[str] = None) -> bytes:
    """The seed in a key file, or in the environment variable ``ARK_FED_PRIVKEY`` where no file is named."""
    if path is None:
        text = os.environ.get(KEY_VARIABLE)
        if not text:
            raise ArkError(f"no private key: give --key FILE or set {KEY_VARIABLE}")
        return decode_key(text)
    try:
        with open(path, encoding="ascii") as file:
            return decode_key(file.read(4096))
    except OSError as error:
        raise ArkError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ArkError("the private key is not base64") from None


def build_manifest(
    nodes: Sequence[Mapping[str, Json]],
    node_id: str,
    instance_type: str = "local",
    seq: Optional[int] = None,
    now: Optional[int] = None,
) -> Dict[str, Json]:
    """A manifest that lists ``nodes`` (as :func:`read_directory` gives them).

    ``seq``, where it is given, must grow from one manifest of this instance to the next: the service refuses to go back.
    """
    manifest: Dict[str, Json] = {
        "node_id": check_id(node_id),
        "instance_type": instance_type,
        "version": "1.0.0",
        "last_updated": int(time.time()) if now is None else now,
        "nodes": [dict(node) for node in nodes],
    }
    if seq is not None:
        if not 0 <= seq < 1 << 53:
            raise ValueError("seq must be from 0 to 2^53-1")
        manifest["seq"] = seq
    return manifest


def with_issued_at(manifest: Mapping[str, Json], now: Optional[int] = None) -> Dict[str, Json]:
    """The manifest with ``issued_at``, where it has none: signed then, it counts for 24 hours, so nobody else can repeat it for longer.

    Sign anew to renew it. Without ``issued_at`` an envelope counts for ever, also when others send it.
    """
    issued = int(time.time()) if now is None else now
    return {"issued_at": issued, **manifest}


def sign_manifest(manifest: Mapping[str, Json], seed: bytes) -> Dict[str, Json]:
    """The envelope ``{manifest, signature, pubkey}``. What is signed: ``json.dumps(manifest, sort_keys=True).encode()``."""
    payload = json.dumps(manifest, sort_keys=True).encode()
    public, sign = _signer(seed)
    return {
        "manifest": manifest,
        "signature": base64.b64encode(sign(payload)).decode("ascii"),
        "pubkey": base64.b64encode(public).decode("ascii"),
    }


# --- the service ----------------------------------------------------------------------------------------------------


@dataclass
class Pulled:
    """What a pull did, or with ``dry_run`` would do. The lists hold ids."""

    added: List[str] = field(default_factory=list)
    changed: List[str] = field(default_factory=list)
    #: Where the files are kept that were replaced, relative to the directory.
    kept_as: List[str] = field(default_factory=list)
    #: The service has another hash of it, but the content that came is what is here already.
    unchanged: List[str] = field(default_factory=list)
    #: Ids that are here and that the service does not have.
    wanted: List[str] = field(default_factory=list)
    #: Id (or what stood in its place) and reason of each node that was not taken.
    refused: List[Tuple[str, str]] = field(default_factory=list)
    #: File name and reason of each file here that is not a node.
    broken: List[Tuple[str, str]] = field(default_factory=list)
    #: How many nodes the service sent.
    delta_count: int = 0
    #: The service's set hash, and ours when all is done.
    remote_manifest_hash: Optional[str] = None
    local_manifest_hash: str = ""
    dry_run: bool = False


class _Network:
    """What members of a network with a key show each other; see "Networks" in the service's README."""

    #: Where an instance says who it is: the one route that is asked before its id is known.
    FIRST_ROUTE = "/lattice/head"

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode("utf-8"), b"ark-lattice network 1", "sha256")
        self.audience: Optional[str] = None

    def _tag(self, purpose: str, *parts: str) -> str:
        return hmac.new(self._key, "\n".join((purpose, *parts)).encode("utf-8"), "sha256").hexdigest()

    def meet(self, head: Json) -> None:
        """Notes whom ``head`` is of. That it came from a member is checked already."""
        try:
            self.audience = parse_json(base64.b64decode(head["payload"], validate=True))["node_id"]
        except (ValueError, KeyError, TypeError):
            raise NotAService("the service's head cannot be read") from None

    def headers(self, method: str, path: str, query: str, body: Optional[bytes]) -> Dict[str, str]:
        digest = ""
        if method not in ("GET", "HEAD"):
            digest = f"sha-256=:{base64.b64encode(hashlib.sha256(body or b'').digest()).decode('ascii')}:"
        stamp = f"{int(time.time())}.{os.urandom(16).hex()}"
        asked = "GET" if method == "HEAD" else method
        tag = self._tag("ark-network request", asked, path, query, digest, self.audience or "*", stamp)
        headers = {"Ark-Network": f"{stamp}.{tag}"}
        if digest:
            headers["Content-Digest"] = digest
        return headers

    def is_ours(self, request: urllib.request.Request, answer: Mapping[str, str]) -> bool:
        expected = self._tag("ark-network answer", request.get_header("Ark-network", ""))
        return hmac.compare_digest(expected, answer.get("Ark-Network") or "")


class Client:
    """One ark-lattice service. Keeps no connection and no state: safe to share between threads."""

    def __init__(
        self,
        base_url: str,
        timeout: float = DEFAULT_TIMEOUT,
        ca_file: Optional[str] = None,
        network_key: Optional[str] = None,
    ) -> None:
        """``ca_file``: a PEM file of authorities that are trusted beside the system's (or those of ``SSL_CERT_FILE``).
        ``network_key``: the key of the service's network, where it has one (``FEDERATION_NETWORK_KEY``)."""
        try:
            parts = urllib.parse.urlsplit(base_url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 80) > 0
        except ValueError:
            usable = False
        if not usable:
            raise UsageError(f"{base_url!r} is not an address such as http://localhost:9001")
        self._base = base_url.rstrip("/")
        self._timeout = timeout
        self._network = _Network(network_key.strip()) if network_key and network_key.strip() else None
        self._open = urllib.request.urlopen
        if ca_file is not None:
            try:
                trusted = ssl.create_default_context()
                trusted.load_verify_locations(ca_file)
            except OSError as error:  # ssl.SSLError is one
                raise ArkError(f"cannot use the authorities in {ca_file}: {error.strerror or error}") from None
            self._open = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trusted)).open

    def request(self, method: str, path: str, query: Optional[Mapping[str, str]] = None, body: Json = None) -> Json:
        """Sends one request and reads the JSON answer. Raises :class:`Refused` or :class:`Unreachable`."""
        url = self._base + path
        if query:
            url += "?" + urllib.parse.urlencode(query)
        headers = {"Accept": "application/json", "User-Agent": f"ark-lattice-python/{__version__}"}
        data = None
        if body is not None:
            # ASCII, so that any reader decodes it alike; the numbers' texts are those that were signed.
            data = json.dumps(body, allow_nan=False).encode("ascii")
            headers["Content-Type"] = "application/json"
        if self._network is not None:
            if self._network.audience is None and path != _Network.FIRST_ROUTE:
                self._network.meet(self.request("GET", _Network.FIRST_ROUTE))
            headers.update(self._network.headers(method, path, url.partition("?")[2], data))
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        try:
            with self._open(request, timeout=self._timeout) as answer:
                if self._network is not None and not self._network.is_ours(request, answer.headers):
                    raise NotAService(f"{self._base} shows no sign of our network: is the key the same on both sides?")
                text = answer.read(MAX_ANSWER + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise self._problem(error) from None
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise Unreachable(f"{self._base} cannot be reached: {_no_answer(error, self._base)}") from None
        if len(text) > MAX_ANSWER:
            raise NotAService(f"the answer of {url} is larger than {MAX_ANSWER} bytes")
        try:
            return parse_json(text)
        except ValueError as error:
            raise NotAService(f"the answer of {url} is not usable JSON: {error}") from None

    @staticmethod
    def _problem(error: urllib.error.HTTPError) -> ArkError:
        code, detail = None, str(error.reason)
        try:
            problem = parse_json(error.read(1 << 20))
        except (ValueError, OSError, http.client.HTTPException):
            problem = None
        if isinstance(problem, dict):
            code = problem["code"] if isinstance(problem.get("code"), str) else None
            said = problem.get("detail", problem.get("title", detail))
            detail = said if isinstance(said, str) else json.dumps(said)
        if 400 <= error.code < 500:
            return Refused(error.code, code, detail)
        return Unreachable(f"the service failed ({error.code}{' ' + code if code else ''}): {detail}")

    def publish(self, envelope: Mapping[str, Json]) -> Dict[str, Json]:
        """Registers a signed manifest, or renews its lease."""
        return _expect_object(self.request("POST", "/manifest", body=envelope))

    def discover(self, instance_type: Optional[str] = None) -> Iterator[Dict[str, Json]]:
        """Every live peer, page by page; a peer that renews its lease meanwhile is yielded once."""
        query = {"instance_type": instance_type} if instance_type else {}
        seen = set()
        for page in self._pages("GET", "/discover", query=query):
            for peer in _expect_list(page, "peers"):
                key = peer.get("node_id") if isinstance(peer, dict) else None
                if not isinstance(key, str):
                    raise NotAService("the service listed a peer without node_id")
                if key not in seen:
                    seen.add(key)
                    yield peer

    def sync(self, nodes: Sequence[Mapping[str, Json]]) -> Iterator[Dict[str, Json]]:
        """The pages of the delta between ``nodes`` (``id`` and ``hash``) and what the service holds."""
        body = {"nodes": [{"id": node["id"], "hash": node["hash"]} for node in nodes]}
        body["manifest_hash"] = manifest_hash(nodes)
        return self._pages("POST", "/sync", body=body)

    def _pages(
        self, method: str, path: str, query: Optional[Mapping[str, str]] = None, body: Optional[Dict[str, Json]] = None
    ) -> Iterator[Dict[str, Json]]:
        cursor: Optional[str] = None
        while True:
            if cursor is None:
                page = self.request(method, path, query=query, body=body)
            elif body is None:
                page = self.request(method, path, query={**(query or {}), "cursor": cursor})
            else:
                page = self.request(method, path, query=query, body={**body, "cursor": cursor})
            page = _expect_object(page)
            yield page
            following = page.get("cursor")
            if following is None:
                return
            if not isinstance(following, str) or following == cursor:
                raise NotAService("the service does not get on: it sent the same cursor twice")
            cursor = following

    def pull(self, directory: str, dry_run: bool = False) -> Pulled:
        """Brings what the service has and ``directory`` lacks, or has otherwise, into ``directory``.

        Each node is checked (an object, a usable id that occurs once) and written atomically. What it replaces is kept in
        ``.ark-overruled``. Nodes that only ``directory`` has
        are left alone. Raises ``ArkError``; what was written before stays, and the next pull goes on from there.
        """
        try:
            local = read_directory(directory)
        except OSError as error:
            raise ArkError(f"cannot read {directory}: {error.strerror}") from None
        hashes = {node["id"]: node["hash"] for node in local.nodes}
        result = Pulled(broken=local.broken, dry_run=dry_run)
        wanted, arrived = set(), set()
        for page in self.sync(local.nodes):
            remote = page.get("manifest_hash")
            if isinstance(remote, str):
                result.remote_manifest_hash = remote
            if "wanted" in page:
                wanted.update(item for item in _expect_list(page, "wanted") if isinstance(item, str))
            for node in _expect_list(page, "nodes"):
                result.delta_count += 1
                self._take(directory, node, local.names, hashes, arrived, result)
        result.wanted = sorted(wanted)
        result.local_manifest_hash = manifest_hash([{"id": key, "hash": hashes[key]} for key in hashes])
        return result

    @staticmethod
    def _take(directory: str, node: Json, names: set, hashes: Dict[str, str], arrived: set, result: Pulled) -> None:
        shown = node.get("id") if isinstance(node, dict) else None
        try:
            if not isinstance(node, dict):
                raise ValueError("a node is a JSON object")
            node_id = check_id(shown)
            if node_id in arrived:
                raise ValueError("the service sent this id twice")
            arrived.add(node_id)
            new_hash = content_hash(node)
            before = hashes.get(node_id)
            if before == new_hash:
                result.unchanged.append(node_id)
                return
            if not result.dry_run:
                kept_as = keep_overruled(directory, file_name(node_id))
                write_node(directory, node, names)
                result.kept_as.extend([kept_as] if kept_as else [])
        except ValueError as error:
            result.refused.append((shown if isinstance(shown, str) else json.dumps(shown), str(error)))
            return
        except OSError as error:
            raise ArkError(f"cannot write {shown!r} to {directory}: {error.strerror}") from None
        hashes[node_id] = new_hash
        (result.added if before is None else result.changed).append(node_id)


def _no_answer(error: Exception, base: str) -> str:
    """Why a request got no answer, and what to do: the words of the libraries name states of a parser."""
    reason = getattr(error, "reason", None)
    cause = reason if isinstance(reason, Exception) else error
    other = ("http" if base.lower().startswith("https:") else "https") + base[base.index(":") :]
    if isinstance(cause, ssl.SSLCertVerificationError):
        if "hostname" in cause.verify_message.lower() or "ip address" in cause.verify_message.lower():
            return "its certificate is for other names; use an address that the certificate names"
        if "expired" in cause.verify_message:
            return "its certificate has expired; renew it there, or set the clock here: timedatectl set-ntp true"
        return "its certificate is self-signed, or of an authority that is not trusted here; name it with --ca-file"
    if isinstance(cause, ssl.SSLError):
        if cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
            return f"it speaks plain HTTP, not TLS; use {other}"
        return "the two sides agree on no way to use TLS"
    if isinstance(cause, http.client.BadStatusLine) and not isinstance(cause, http.client.RemoteDisconnected):
        return f"it does not answer in HTTP: it may speak TLS; use {other}"
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused: nothing listens there; check the port, or start the service: ark-lattice serve"
    if isinstance(cause, socket.gaierror):
        return "the host name has no address; check its spelling"
    if isinstance(cause, TimeoutError):
        return "no answer in time; check the address, and that no firewall is between"
    if isinstance(cause, (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, http.client.RemoteDisconnected)):
        return "the connection ended before the answer did; try again"
    return f"{getattr(cause, 'strerror', None) or cause}; try again"


def _expect_object(value: Json) -> Dict[str, Json]:
    if not isinstance(value, dict):
        raise NotAService("the service's answer is not a JSON object")
    return value


def _expect_list(page: Mapping[str, Json], key: str) -> List[Json]:
    value = page.get(key)
    if not isinstance(value, list):
        raise NotAService(f'the service\'s answer has no list "{key}"')
    return value


# --- the command ----------------------------------------------------------------------------------------------------


def _printable(text: str) -> str:
    """Text of a stranger's, safe for a terminal and for the eye: what cannot be seen is shown as an escape, as the service shows it."""
    return _UNPRINTABLE.sub(lambda found: _SHOWN.get(found[0]) or f"\\u{{{ord(found[0]):x}}}", text)


def _print_json(value: Json) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _warn(text: str) -> None:
    print(_printable(f"error: {text}"), file=sys.stderr)


def _read_manifest(path: str) -> Dict[str, Json]:
    try:
        if path == "-":
            text = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                text = file.read()
        manifest = parse_json(text)
    except OSError as error:
        raise ArkError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise ArkError(f"{path}: {error}") from None
    if not isinstance(manifest, dict):
        raise ArkError(f"{path}: a manifest is a JSON object")
    return manifest


def _build_from(directory: str, args: argparse.Namespace) -> Dict[str, Json]:
    if not args.node_id:
        raise UsageError("--node-id is needed (or the environment variable ARK_NODE_ID)")
    try:
        found = read_directory(directory)
        for name, reason in found.broken:
            _warn(f"skipped {name}: {reason}")
        return build_manifest(found.nodes, args.node_id, args.instance_type, args.seq)
    except OSError as error:
        raise ArkError(f"cannot read {directory}: {error.strerror}") from None
    except ValueError as error:
        raise ArkError(str(error)) from None


def _keygen(args: argparse.Namespace) -> int:
    if not (args.out or args.print_secret or sys.stdout.isatty()):
        raise UsageError("standard output is no terminal: give --out FILE, or --print-secret to print the private key all the same")
    seed = generate_seed()
    public = public_key(seed)
    if args.out:
        save_key(args.out, seed)
        shown = {"public_key": public, "file": args.out}
    else:
        shown = {"public_key": public, "private_key": base64.b64encode(seed).decode("ascii")}
    if args.json:
        _print_json(shown)
    else:
        print(public)
        if not args.out:
            print(shown["private_key"])
    return EXIT_OK


def _build(args: argparse.Namespace) -> int:
    _print_json(_build_from(args.dir, args))
    return EXIT_OK


def _sign(args: argparse.Namespace) -> int:
    _print_json(sign_manifest(_read_manifest(args.manifest), load_key(args.key)))
    return EXIT_OK


def _client(url: str, args: argparse.Namespace) -> Client:
    return Client(url, args.timeout, args.ca_file, os.environ.get(NETWORK_VARIABLE))


def _publish(args: argparse.Namespace) -> int:
    client = _client(args.to, args)
    seed = load_key(args.key)
    manifest = _build_from(args.dir, args) if args.dir else _read_manifest(args.manifest)
    answer = client.publish(sign_manifest(with_issued_at(manifest), seed))
    if args.json:
        _print_json(answer)
    else:
        lease = answer.get("expires_in")
        suffix = f", expires in {lease} s" if lease is not None else ""
        print(_printable(f"{answer.get('status')} {answer.get('node_id')}{suffix}"))
    return EXIT_OK


def _discover(args: argparse.Namespace) -> int:
    peers = list(_client(args.source, args).discover(args.instance_type))
    if args.json:
        _print_json({"peers": peers, "count": len(peers)})
        return EXIT_OK
    for peer in peers:
        columns = (peer["node_id"], peer.get("instance_type"), peer.get("node_count"), peer.get("trust_level"))
        shown = "\t".join(_printable("-" if column is None else str(column)) for column in columns)
        print(f"{shown}\texpires in {_printable(str(peer.get('expires_in')))} s")
    print(f"{len(peers)} {'peer' if len(peers) == 1 else 'peers'}")
    return EXIT_OK


def _pull(args: argparse.Namespace) -> int:
    result = _client(args.source, args).pull(args.dir, dry_run=args.dry_run)
    if args.json:
        shown = dict(vars(result))
        for key in ("refused", "broken"):
            name = "id" if key == "refused" else "file"
            shown[key] = [{name: what, "reason": reason} for what, reason in shown[key]]
        _print_json(shown)
    else:
        for sign, ids in (("+", result.added), ("~", result.changed)):
            for node_id in ids:
                print(_printable(f"{sign} {node_id}"))
        verb = "would be " if args.dry_run else ""
        print(f"{len(result.added)} {verb}added, {len(result.changed)} {verb}changed, {len(result.wanted)} only here")
        if result.kept_as:
            print(_printable(f"what was replaced is kept: {', '.join(result.kept_as[:3])}{', …' if len(result.kept_as) > 3 else ''}"))
    for name, reason in result.broken:
        _warn(f"skipped {name}: {reason}")
    for node_id, reason in result.refused:
        _warn(f"refused {node_id}: {reason}")
    return EXIT_DIFFERS if result.refused else EXIT_OK


def _hash(args: argparse.Namespace) -> int:
    try:
        shown = {"content_hash": content_hash(read_node(args.file)), "file_hash": file_hash(args.file)}
    except OSError as error:
        raise ArkError(f"cannot read {args.file}: {error.strerror}") from None
    except ValueError as error:
        raise ArkError(f"{args.file}: {error}") from None
    if args.json:
        _print_json(shown)
    else:
        print(shown["content_hash"])
    return EXIT_OK


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"error: {message} (try {self.prog} --help)\n")


def _positive(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 86_400:
        raise argparse.ArgumentTypeError("must be more than 0 and less than 86400 seconds")
    return seconds


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = _Parser(prog="ark_lattice.py", description="A client for ark-lattice.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str, remote: bool = False) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        added.add_argument("--json", action="store_true", help="print JSON")
        if remote:
            added.add_argument("--timeout", type=_positive, default=DEFAULT_TIMEOUT, metavar="SECONDS", help="default: 30")
            added.add_argument("--ca-file", metavar="FILE", help="PEM file of authorities to trust beside the system's")
        return added

    def about_the_instance(added: argparse.ArgumentParser) -> None:
        added.add_argument("--node-id", default=os.environ.get("ARK_NODE_ID"), help="the instance's id; default: $ARK_NODE_ID")
        added.add_argument("--instance-type", default=os.environ.get("ARK_INSTANCE_TYPE") or "local", metavar="T")
        added.add_argument("--seq", type=int, metavar="N", help="number of this manifest; must grow")

    key_help = f"file with base64 of the 32-byte seed; default: ${KEY_VARIABLE}"

    added = command("keygen", _keygen, "make a key pair and print the public key")
    added.add_argument("--out", metavar="FILE", help="a new file for the private key; without it the key is printed")
    added.add_argument("--print-secret", action="store_true", help="print the private key also where standard output is no terminal")

    added = command("build", _build, "print the manifest of a directory")
    added.add_argument("dir", metavar="DIR")
    about_the_instance(added)

    added = command("sign", _sign, "print the envelope of a manifest")
    added.add_argument("manifest", metavar="MANIFEST.json", help="'-' for standard input")
    added.add_argument("--key", metavar="FILE", help=key_help)

    added = command("publish", _publish, "sign a manifest and register it", remote=True)
    added.add_argument("--to", required=True, metavar="URL")
    added.add_argument("--key", metavar="FILE", help=key_help)
    what = added.add_mutually_exclusive_group(required=True)
    what.add_argument("--dir", metavar="DIR", help="build the manifest from this directory")
    what.add_argument("manifest", nargs="?", metavar="MANIFEST.json", help="'-' for standard input")
    about_the_instance(added)

    added = command("discover", _discover, "list the live peers", remote=True)
    added.add_argument("--from", dest="source", required=True, metavar="URL")
    added.add_argument("--instance-type", metavar="T", help="only peers of this type")

    added = command("pull", _pull, "bring what differs into a directory", remote=True)
    added.add_argument("--from", dest="source", required=True, metavar="URL")
    added.add_argument("--dir", required=True, metavar="DIR", help="must exist")
    added.add_argument("--dry-run", action="store_true", help="say what would be done and write nothing")

    added = command("hash", _hash, "print the content hash of a node's file")
    added.add_argument("file", metavar="FILE")
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs the command and hands its exit code back."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    args = make_parser().parse_args(arguments)
    try:
        return args.run(args)
    except ArkError as error:
        _warn(str(error).replace("\n", " "))
        return error.exit_code
    except BrokenPipeError:
        # A reader that is gone has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
