#!/usr/bin/env node
// A client for ark-lattice in one file: Node.js 18 or later, nothing else.
//
// As a command:
//   node ark_lattice.mjs keygen --out ark.key
//   node ark_lattice.mjs publish --to http://localhost:9001 --key ark.key --dir lattice_data --node-id ark-1
//   node ark_lattice.mjs discover --from http://localhost:9001
//   node ark_lattice.mjs pull --from http://localhost:9001 --dir lattice_copy
//
// As a module:
//   import { Client, buildManifest, loadKey, readDirectory, signManifest } from "./ark_lattice.mjs";
//   const manifest = buildManifest(readDirectory("lattice_data").nodes, { nodeId: "ark-1" });
//   await new Client("http://localhost:9001").publish(signManifest(manifest, loadKey("ark.key")));
//
// Exit codes, those of the ark-lattice command: 0 done; 1 failed here; 2 wrong usage; 3 refused by the service (4xx), or it is none;
// 4 it cannot be reached or failed (5xx): may be tried again; 5 something was refused here: it differs from what was announced.

import { createHash, createPrivateKey, createPublicKey, randomBytes, sign as signBytes } from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const VERSION = "0.1.0";
const DEPTH = 64;
const MAX_ANSWER = 256 << 20;
const MAX_LINE = 64 << 20;
const MAX_SAFE = (1n << 53n) - 1n;

/** Something went wrong; `exit` is the command's exit code, `code` the service's problem code. */
export class ArkError extends Error {
  constructor(message, exit = 1, code = null) {
    super(message);
    this.exit = exit;
    this.code = code;
  }
}

// --- JSON: JSON.parse would round integers beyond 2^53 and take the last of two equal keys ---------------------------

/** A number's text, as it stands in the document. */
class Num {
  constructor(text) {
    this.text = text;
  }
}

/** Reads one JSON document strictly; numbers keep their text, objects are Maps. Throws ArkError. */
export function parseJson(bytes) {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new ArkError("not UTF-8");
  }
  if (text.startsWith("\ufeff")) throw new ArkError("it begins with a byte order mark");
  let at = 0;
  const fail = (what) => {
    throw new ArkError(`${what} at character ${at}`);
  };
  const space = () => {
    while (at < text.length && " \t\n\r".includes(text[at])) at++;
  };
  const token = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
  const string = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
  const readString = () => {
    string.lastIndex = at;
    const found = string.exec(text);
    if (!found) fail("a string is malformed");
    at = string.lastIndex;
    const value = JSON.parse(found[0]);
    if (/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(value)) fail("half of a surrogate pair");
    return value;
  };
  const readValue = (depth) => {
    space();
    const next = text[at];
    if (next === '"') return readString();
    if (next === "{" || next === "[") {
      if (depth >= DEPTH) fail(`more than ${DEPTH} levels`);
      at++;
      const isObject = next === "{";
      const [into, end] = isObject ? [new Map(), "}"] : [[], "]"];
      space();
      if (text[at] === end) {
        at++;
        return into;
      }
      for (;;) {
        if (isObject) {
          space();
          if (text[at] !== '"') fail("a key is missing");
          const key = readString();
          space();
          if (text[at] !== ":") fail("a colon is missing");
          at++;
          if (into.has(key)) fail(`the key ${JSON.stringify(key)} occurs twice`);
          into.set(key, readValue(depth + 1));
        } else {
          into.push(readValue(depth + 1));
        }
        space();
        if (text[at] === ",") at++;
        else if (text[at] === end) break;
        else fail(`a comma or ${end} is missing`);
      }
      at++;
      return into;
    }
    for (const [word, value] of [["true", true], ["false", false], ["null", null]]) {
      if (text.startsWith(word, at)) {
        at += word.length;
        return value;
      }
    }
    token.lastIndex = at;
    const found = token.exec(text);
    if (!found) fail("a value is missing");
    if (!Number.isFinite(Number(found[0])) && !/^-?[0-9]+$/.test(found[0])) fail("a number is too large for a double");
    at = token.lastIndex;
    return new Num(found[0]);
  };
  const value = readValue(0);
  space();
  if (at !== text.length) fail("something follows the value");
  return value;
}

function canonicalNumber(text) {
  if (/^-?[0-9]+$/.test(text)) {
    const whole = BigInt(text);
    if (whole > MAX_SAFE || whole < -MAX_SAFE) return whole.toString();
  }
  return String(Number(text));
}

/** RFC 8785 text of a value of parseJson; integers beyond ±(2^53-1) keep their exact digits. */
export function canonicalJson(value) {
  if (value instanceof Num) return canonicalNumber(value.text);
  if (value instanceof Map) {
    const keys = [...value.keys()].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    return `{${keys.map((key) => `${JSON.stringify(key)}:${canonicalJson(value.get(key))}`).join(",")}}`;
  }
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  return JSON.stringify(value);
}

/** JSON text of a value of parseJson, every number as it was. */
function writeJson(value, indent = "") {
  if (value instanceof Num) return value.text;
  const inner = `${indent}  `;
  if (value instanceof Map) {
    if (value.size === 0) return "{}";
    const members = [...value].map(([key, item]) => `${inner}${JSON.stringify(key)}: ${writeJson(item, inner)}`);
    return `{\n${members.join(",\n")}\n${indent}}`;
  }
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    return `[\n${value.map((item) => inner + writeJson(item, inner)).join(",\n")}\n${indent}]`;
  }
  return JSON.stringify(value);
}

/** Plain JavaScript values, for looking at answers. */
function plain(value) {
  if (value instanceof Num) return Number(value.text);
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plain(item)]));
  return Array.isArray(value) ? value.map(plain) : value;
}

const sha256 = (data) => createHash("sha256").update(data).digest("hex");

/** The content hash of a node that parseJson read. */
export const contentHash = (value) => `sha256:${sha256(canonicalJson(value))}`;

/** The hash of a set of nodes, each with `id` and `hash`: what the service calls manifest_hash. */
export function manifestHash(nodes) {
  const buckets = new Map();
  for (const { id, hash } of nodes) {
    const name = sha256(id).slice(0, 3);
    if (!buckets.has(name)) buckets.set(name, []);
    buckets.get(name).push([Buffer.from(id), hash]);
  }
  const lines = [...buckets.keys()].sort().map((name) => {
    const bucket = createHash("sha256");
    for (const [id, hash] of buckets.get(name).sort((a, b) => Buffer.compare(a[0], b[0]))) bucket.update(id).update(`\n${hash}\n`);
    return `${name}\n${bucket.digest("hex")}\n`;
  });
  return `sha256:${sha256(lines.join(""))}`;
}

// --- the data directory -----------------------------------------------------------------------------------------------

/** Hands an id back, or throws: 1 to 256 characters, no control characters. */
export function checkId(id) {
  if (typeof id !== "string") throw new ArkError("an id must be a text");
  const length = [...id].length;
  if (length < 1 || length > 256) throw new ArkError(`an id has 1 to 256 characters, not ${length}`);
  if (/[\u0000-\u001f\u007f-\u009f]/.test(id)) throw new ArkError("an id must not hold control characters");
  return id;
}

/** The name of a node's file. */
const MAX_NAME_BYTES = 255;

export function fileName(id) {
  const escaped = (byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  const raw = Buffer.from(checkId(id), "utf8");
  const parts = [...raw].map((byte) => (/[A-Za-z0-9._:-]/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : escaped(byte)));
  if (id.startsWith(".") || id === "manifest") parts[0] = escaped(raw[0]);
  if (parts.join("").length <= MAX_NAME_BYTES - ".json".length) return `${parts.join("")}.json`;
  // Longer than file systems take: cut between escapes, with the hash of the id.
  const tail = `~${createHash("sha256").update(raw).digest("hex")}.json`;
  while (parts.join("").length > MAX_NAME_BYTES - tail.length) parts.pop();
  return `${parts.join("")}${tail}`;
}

function readNode(file) {
  const descriptor = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK);
  try {
    if (!fs.fstatSync(descriptor).isFile()) throw new ArkError("not a regular file");
    const node = parseJson(fs.readFileSync(descriptor));
    if (!(node instanceof Map)) throw new ArkError("a node is a JSON object");
    checkId(node.get("id"));
    return node;
  } finally {
    fs.closeSync(descriptor);
  }
}

/** Every node of a directory, without contents, and every file that is none. */
export function readDirectory(directory) {
  let names;
  try {
    names = fs.readdirSync(directory).sort();
  } catch (error) {
    throw new ArkError(`cannot read ${directory}: ${error.code}`);
  }
  const found = { nodes: [], broken: [] };
  for (const name of names) {
    if (!name.endsWith(".json") || name.startsWith(".") || name === "manifest.json") continue;
    try {
      const node = readNode(path.join(directory, name));
      const id = node.get("id");
      if (fileName(id) !== name) throw new ArkError(`holds the id ${JSON.stringify(id)}, whose file would be ${fileName(id)}`);
      const changedAt = fs.statSync(path.join(directory, name)).mtimeMs / 1000;
      found.nodes.push({ id, hash: contentHash(node), type: node.get("type"), updatedAt: node.get("updated_at"), changedAt });
    } catch (error) {
      found.broken.push([name, error instanceof ArkError ? error.message : error.code]);
    }
  }
  return found;
}

function writeDurably(directory, name, text, changedAt) {
  const temporary = path.join(directory, `.ark-${randomBytes(8).toString("hex")}.tmp`);
  const descriptor = fs.openSync(temporary, "wx", 0o644);
  try {
    fs.writeFileSync(descriptor, text);
    if (changedAt !== undefined) fs.futimesSync(descriptor, changedAt, changedAt);
    fs.fsyncSync(descriptor);
    fs.closeSync(descriptor);
    fs.renameSync(temporary, path.join(directory, name));
  } catch (error) {
    fs.rmSync(temporary, { force: true });
    throw new ArkError(`cannot write ${path.join(directory, name)}: ${error.code}`);
  }
  syncDirectory(directory);
}

/**
 * Keeps a file that is about to be replaced as `.ark-overruled/{name}~{hash}`, as the service does; answers where. What was kept before is
 * never replaced.
 */
function keepOverruled(directory, name) {
  const file = path.join(directory, name);
  const folder = path.join(directory, ".ark-overruled");
  try {
    if (!fs.existsSync(file)) return undefined;
    const content = fs.readFileSync(file);
    fs.mkdirSync(folder, { recursive: true });
    const hex = (bytes) => createHash("sha256").update(bytes).digest("hex");
    const base = `${name.length <= 235 ? name : hex(name)}~${hex(content).slice(0, 8)}`;
    for (let number = 1; ; number++) {
      const kept = number === 1 ? base : `${base}.${number}`;
      const target = path.join(folder, kept);
      if (!fs.existsSync(target)) {
        const descriptor = fs.openSync(target, "wx", 0o644);
        fs.writeFileSync(descriptor, content);
        fs.fsyncSync(descriptor);
        fs.closeSync(descriptor);
      } else if (!fs.readFileSync(target).equals(content)) continue;
      syncDirectory(folder);
      syncDirectory(directory);
      return `.ark-overruled/${kept}`;
    }
  } catch (error) {
    throw new ArkError(`cannot write ${folder}: ${error.code}`);
  }
}

function syncDirectory(directory) {
  const descriptor = fs.openSync(directory, "r");
  fs.fsyncSync(descriptor);
  fs.closeSync(descriptor);
}

// --- keys and manifests -----------------------------------------------------------------------------------------------

const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");

function decodeKey(text) {
  const trimmed = text.trim();
  const seed = Buffer.from(trimmed, "base64");
  if (seed.length !== 32 || seed.toString("base64") !== trimmed) throw new ArkError("the private key is not base64 of 32 bytes");
  return seed;
}

/** The seed in a key file, or in ARK_FED_PRIVKEY where no file is named. */
export function loadKey(file) {
  if (file === undefined) {
    if (!process.env.ARK_FED_PRIVKEY) throw new ArkError("no private key: give --key FILE or set ARK_FED_PRIVKEY");
    return decodeKey(process.env.ARK_FED_PRIVKEY);
  }
  let text;
  try {
    text = fs.readFileSync(file, "latin1");
  } catch (error) {
    throw new ArkError(`cannot read ${file}: ${error.code}`);
  }
  return decodeKey(text);
}

/** Writes a new key file that only its owner can read; never overwrites. */
export function saveKey(file, seed) {
  let descriptor;
  try {
    descriptor = fs.openSync(file, "wx", 0o600);
  } catch (error) {
    if (error.code === "EEXIST") throw new ArkError(`${file} exists already; a key is never overwritten`);
    throw new ArkError(`cannot write ${file}: ${error.code}`);
  }
  fs.writeFileSync(descriptor, `${seed.toString("base64")}\n`);
  fs.fsyncSync(descriptor);
  fs.closeSync(descriptor);
  syncDirectory(path.dirname(path.resolve(file)));
}

const privateKey = (seed) => createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: "der", type: "pkcs8" });

/** The public key of a seed, base64. */
export const publicKey = (seed) =>
  createPublicKey(privateKey(seed)).export({ format: "der", type: "spki" }).subarray(-32).toString("base64");

/** A manifest's JSON text that lists nodes as readDirectory gives them. */
export function buildManifest(nodes, { nodeId, instanceType = "local", seq = undefined, now = Math.floor(Date.now() / 1000) }) {
  const listed = nodes.map(({ id, hash, type, updatedAt }) => {
    const entry = new Map([["id", id], ["hash", hash]]);
    if (typeof type === "string") entry.set("type", type);
    if (updatedAt !== undefined) entry.set("updated_at", updatedAt);
    return entry;
  });
  const manifest = new Map([["node_id", checkId(nodeId)], ["instance_type", instanceType], ["version", "1.0.0"]]);
  manifest.set("last_updated", new Num(String(now)));
  if (seq !== undefined) {
    if (!/^(0|[1-9][0-9]*)$/.test(String(seq)) || BigInt(seq) > MAX_SAFE) throw new ArkError("seq is a number from 0 to 2^53-1", 2);
    manifest.set("seq", new Num(String(seq)));
  }
  return writeJson(manifest.set("nodes", listed));
}

/** A manifest's text with issued_at, where it has none: signed then, it counts for 24 hours, so nobody else can repeat it for longer. */
export function withIssuedAt(text, now = Math.floor(Date.now() / 1000)) {
  const manifest = parseJson(Buffer.from(text));
  if (!(manifest instanceof Map) || manifest.has("issued_at")) return text;
  return writeJson(new Map([["issued_at", new Num(String(now))], ...manifest]));
}

/** The DSSE envelope of a manifest's text: its bytes are signed as they are. */
export function signManifest(manifest, seed) {
  const payload = Buffer.from(manifest);
  const type = "application/vnd.ark-lattice.manifest+json";
  const bytes = Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${payload.length} `), payload]);
  const sig = signBytes(null, bytes, privateKey(seed)).toString("base64");
  const signatures = [{ keyid: publicKey(seed), sig }];
  return JSON.stringify({ canonicalization: "dsse", payload: payload.toString("base64"), payloadType: type, signatures });
}

// --- the service --------------------------------------------------------------------------------------------------------

const ISO_8601 = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(:\d\d(?:\.\d+)?)?([Zz]|[+-]\d\d:\d\d)?$/;

/**
 * When a version was made, in seconds; undefined where it does not say. Numbers from 10^11 on are milliseconds; a text without an offset
 * is UTC.
 */
function instant(value) {
  let seconds = NaN;
  if (value instanceof Num) {
    seconds = Number(value.text);
    if (Math.abs(seconds) >= 1e11) seconds /= 1000;
  } else if (typeof value === "string") {
    const parts = ISO_8601.exec(value);
    if (parts) seconds = Date.parse(`${parts[1]}T${parts[2]}${parts[3] ?? ":00"}${(parts[4] ?? "Z").toUpperCase()}`) / 1000;
  }
  return Number.isFinite(seconds) ? seconds : undefined;
}

/** Why a request got no answer, and what to do: the words of the libraries name states of a parser. */
function noAnswer(error, base) {
  const other = base.replace(/^(https?):/i, (_, scheme) => (scheme.toLowerCase() === "https" ? "http:" : "https:"));
  const code = error.code ?? "";
  if (/wrong version number|packet length too long|http request/i.test(error.message ?? "")) return `it speaks plain HTTP, not TLS; use ${other}`;
  if (code.startsWith("HPE_")) return `it does not answer in HTTP: it may speak TLS; use ${other}`;
  switch (code) {
    case "ECONNREFUSED":
      return "connection refused: nothing listens there; check the port, or start the service: ark-lattice serve";
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return "the host name has no address; check its spelling";
    case "ETIMEDOUT":
      return "no answer in time; check the address, and that no firewall is between";
    case "ECONNRESET":
    case "EPIPE":
      return "the connection ended before the answer did; try again";
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return "its certificate is for other names; use an address that the certificate names";
    case "CERT_HAS_EXPIRED":
      return "its certificate has expired; renew it there, or set the clock here: timedatectl set-ntp true";
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
      return "its certificate is self-signed, or of an authority that is not trusted here; name it with --ca-file";
    case "EPROTO":
      return "the two sides agree on no way to use TLS";
    default:
      return `${error.message || code}; try again`;
  }
}

/** One ark-lattice service. */
export class Client {
  constructor(base, { timeout = 30, ca = undefined } = {}) {
    let url;
    try {
      url = new URL(base);
    } catch {
      url = null;
    }
    if (!url || !["http:", "https:"].includes(url.protocol)) throw new ArkError(`${JSON.stringify(base)} is not an address such as http://localhost:9001`, 2);
    this.base = base.replace(/\/+$/, "");
    this.timeout = timeout;
    this.ca = ca;
  }

  /** Sends a request; the answer is a stream with `statusCode` and `headers`. */
  send(method, route, { body, accept = "application/json" } = {}) {
    const url = new URL(this.base + route);
    const headers = { accept, "user-agent": `ark-lattice-node/${VERSION}` };
    if (body !== undefined) Object.assign(headers, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
    return new Promise((resolve, reject) => {
      const gone = (error) => reject(new ArkError(`${this.base} cannot be reached: ${noAnswer(error, this.base)}`, 4));
      const request = (url.protocol === "https:" ? https : http).request(url, { method, headers, ca: this.ca }, resolve);
      request.setTimeout(this.timeout * 1000, () => request.destroy(new Error(`no answer within ${this.timeout} s`)));
      request.on("error", gone);
      request.end(body);
    });
  }

  async whole(answer) {
    const parts = [];
    let size = 0;
    try {
      for await (const part of answer) {
        size += part.length;
        if (size > MAX_ANSWER) throw new ArkError(`the answer of ${this.base} is larger than ${MAX_ANSWER} bytes`, 3);
        parts.push(part);
      }
    } catch (error) {
      throw error instanceof ArkError ? error : new ArkError(`${this.base}: the answer broke off: ${error.message}; try again`, 4);
    }
    return Buffer.concat(parts);
  }

  async problem(answer) {
    const { statusCode: status, headers } = answer;
    let problem = {};
    try {
      problem = plain(parseJson(await this.whole(answer)));
    } catch {
      problem = {};
    }
    const code = typeof problem?.code === "string" ? problem.code : null;
    const said = `${status}${code ? ` ${code}` : ""}: ${problem?.detail ?? problem?.title ?? answer.statusMessage}`;
    if (status < 500) return new ArkError(`refused with ${said}`, 3, code);
    const wait = headers["retry-after"];
    return new ArkError(`the service failed with ${said}; try again${wait ? ` in ${wait} s` : ""}`, 4, code);
  }

  /** Sends a request and reads its JSON answer (a value of parseJson). */
  async json(method, route, body) {
    const answer = await this.send(method, route, { body });
    if (answer.statusCode !== 200) throw await this.problem(answer);
    const text = await this.whole(answer);
    try {
      return parseJson(text);
    } catch (error) {
      throw new ArkError(`${this.base} does not answer as an ark-lattice service does: ${error.message}`, 3);
    }
  }

  /** Registers a signed manifest, or renews its lease. */
  async publish(envelope) {
    return plain(await this.json("POST", "/manifest", envelope));
  }

  /** Every live peer. */
  async discover(instanceType) {
    const peers = new Map();
    for (let cursor = ""; cursor !== null; ) {
      const query = new URLSearchParams();
      if (instanceType) query.set("instance_type", instanceType);
      if (cursor) query.set("cursor", cursor);
      const page = plain(await this.json("GET", `/discover?${query}`));
      if (!Array.isArray(page?.peers)) throw new ArkError(`${this.base} does not answer as an ark-lattice service does: no list of peers`, 3);
      for (const peer of page.peers) peers.set(peer.node_id, peer);
      if (page.cursor === cursor) throw new ArkError(`${this.base} does not get on: it sent the same cursor twice`, 3);
      cursor = typeof page.cursor === "string" ? page.cursor : null;
    }
    return [...peers.values()].sort((a, b) => (a.node_id < b.node_id ? -1 : 1));
  }

  /**
   * What differs from `held`, one line after the other, and then the service's set hash. With `this.versions` each line is
   * `{at, node, …}`; a service that does not know of versions sends nodes alone.
   */
  async *sync(held) {
    const nodes = held.map(({ id, hash }) => ({ id, hash }));
    let cursor;
    do {
      const body = JSON.stringify({ manifest_hash: manifestHash(held), versions: true, nodes, ...(cursor && { cursor }) });
      const answer = await this.send("POST", "/sync", { body, accept: "application/x-ndjson" });
      if (answer.statusCode !== 200) throw await this.problem(answer);
      const expected = Number(answer.headers["ark-delta-count"]);
      if (!Number.isInteger(expected)) throw new ArkError(`${this.base} does not answer as an ark-lattice service does: no Ark-Delta-Count`, 3);
      this.versions = answer.headers["ark-lines"] === "versions";
      yield* this.lines(answer, expected);
      const next = answer.headers["ark-cursor"];
      if (next !== undefined && next === cursor) throw new ArkError(`${this.base} does not get on: it sent the same cursor twice`, 3);
      cursor = next;
      this.manifestHash = answer.headers["ark-manifest-hash"];
    } while (cursor !== undefined);
  }

  async *lines(answer, expected) {
    let rest = Buffer.alloc(0);
    let seen = 0;
    const line = (bytes) => {
      if (++seen > expected) throw new ArkError(`${this.base} sends more nodes than it announced`, 3);
      return bytes;
    };
    try {
      for await (const part of answer) {
        rest = rest.length ? Buffer.concat([rest, part]) : part;
        let start = 0;
        for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10, start)) {
          yield line(rest.subarray(start, end));
          start = end + 1;
        }
        rest = rest.subarray(start);
        if (rest.length > MAX_LINE) throw new ArkError(`${this.base} sends a line of over ${MAX_LINE} bytes`, 3);
      }
    } catch (error) {
      throw error instanceof ArkError ? error : new ArkError(`${this.base}: the answer broke off: ${error.message}; try again`, 4);
    }
    if (rest.length) throw new ArkError(`${this.base}: the answer ends within a line; try again`, 4);
  }

  /** Brings what the service has and the directory lacks, or holds in an older version, into the directory. */
  async pull(directory, { dryRun = false } = {}) {
    const local = readDirectory(directory);
    const held = new Map(local.nodes.map((node) => [node.id, node]));
    const report = { added: [], changed: [], kept_as: [], unchanged: [], kept: [], refused: [], broken: local.broken, dry_run: dryRun };
    const arrived = new Set();
    for await (const bytes of this.sync(local.nodes)) {
      let id = "a line";
      try {
        const line = parseJson(bytes);
        const node = this.versions && line instanceof Map ? line.get("node") : line;
        if (!(node instanceof Map)) throw new ArkError("a node is a JSON object");
        const at = this.versions ? instant(line.get("at")) : instant(node.get("updated_at"));
        id = checkId(node.get("id"));
        if (arrived.has(id)) throw new ArkError("the service sent this id twice");
        arrived.add(id);
        this.take(directory, node, at, held, report);
      } catch (error) {
        if (!(error instanceof ArkError) || error.message.startsWith("cannot write")) throw error;
        report.refused.push([id, error.message]);
      }
    }
    const mine = [...held.values()];
    return { ...report, remote_manifest_hash: this.manifestHash, local_manifest_hash: manifestHash(mine) };
  }

  /** Of two versions the later one stays. One that does not say when it was made replaces nothing. */
  take(directory, node, at, held, report) {
    const id = node.get("id");
    const [before, hash] = [held.get(id), contentHash(node)];
    if (before?.hash === hash) return void report.unchanged.push(id);
    const mine = before && (instant(before.updatedAt) ?? before.changedAt);
    if (before && (at === undefined || mine > at || (mine === at && before.hash > hash))) return void report.kept.push(id);
    if (!report.dry_run) {
      const keptAs = keepOverruled(directory, fileName(id));
      writeDurably(directory, fileName(id), `${writeJson(node)}\n`, at);
      if (keptAs) report.kept_as.push(keptAs);
    }
    held.set(id, { id, hash });
    (before ? report.changed : report.added).push(id);
  }
}

// --- the command --------------------------------------------------------------------------------------------------------

const HELP = `usage: node ark_lattice.mjs COMMAND

  keygen [--out FILE | --print-secret]     make a key; prints the public key (without --out: the private one below it)
  build DIR --node-id ID [--seq N]         print the manifest of a directory
  sign MANIFEST.json [--key FILE]          print the envelope; - reads standard input
  publish --to URL [--key FILE] (--dir DIR --node-id ID | MANIFEST.json)
  discover --from URL [--instance-type T]  list the live peers
  pull --from URL --dir DIR [--dry-run]    bring what differs into DIR
  hash FILE                                print a node's content hash

All take --json; those that talk to a service take --timeout SECONDS (30) and --ca-file FILE (PEM).
ARK_FED_PRIVKEY, ARK_NODE_ID and ARK_INSTANCE_TYPE stand in for --key, --node-id and --instance-type.

Exit codes: 0 done, 1 failed here, 2 wrong usage, 3 refused by the service, 4 it cannot be reached or failed, 5 something was refused here`;

// What cannot be seen, or changes what is seen: as src/types/printable.rs of the service has it.
const UNPRINTABLE =
  // eslint-disable-next-line no-control-regex, no-misleading-character-class
  /[\u{0}-\u{1f}\u{7f}-\u{a0}\u{ad}\u{34f}\u{61c}\u{115f}\u{1160}\u{1680}\u{17b4}\u{17b5}\u{180b}-\u{180f}\u{2000}-\u{200f}\u{2028}-\u{202f}\u{205f}-\u{206f}\u{2800}\u{3000}\u{3164}\u{d800}-\u{dfff}\u{e000}-\u{f8ff}\u{fe00}-\u{fe0f}\u{feff}\u{ffa0}\u{fff0}-\u{fffc}\u{13430}-\u{1343f}\u{13441}\u{13442}\u{16fe4}\u{1bca0}-\u{1bca3}\u{1d159}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}\u{f0000}-\u{10ffff}]/gu;
const ESCAPES = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };
const printable = (text) => String(text).replace(UNPRINTABLE, (c) => ESCAPES[c] ?? `\\u{${c.codePointAt(0).toString(16)}}`);
const usage = (message) => new ArkError(`${message}; see --help`, 2);

function read(file) {
  try {
    return fs.readFileSync(file === "-" ? 0 : file);
  } catch (error) {
    throw new ArkError(`cannot read ${file}: ${error.code}`);
  }
}

function manifestOf(directory, options) {
  const nodeId = options["node-id"] ?? process.env.ARK_NODE_ID;
  if (!nodeId) throw usage("name the instance: --node-id ID or ARK_NODE_ID");
  const found = readDirectory(directory);
  for (const [name, reason] of found.broken) process.stderr.write(`left out: ${printable(name)}: ${printable(reason)}\n`);
  const instanceType = options["instance-type"] ?? process.env.ARK_INSTANCE_TYPE ?? "local";
  return buildManifest(found.nodes, { nodeId, instanceType, seq: options.seq });
}

function client(url, options) {
  if (!url) throw usage("name the service: --to URL or --from URL");
  const timeout = Number(options.timeout ?? 30);
  if (!(timeout > 0)) throw usage("--timeout is a number of seconds");
  return new Client(url, { timeout, ca: options["ca-file"] && read(options["ca-file"]) });
}

const COMMANDS = {
  keygen(options) {
    if (!options.out && !options["print-secret"] && !process.stdout.isTTY) {
      throw usage("standard output is no terminal: give --out FILE, or --print-secret to print the private key all the same");
    }
    const seed = randomBytes(32);
    const key = publicKey(seed);
    if (options.out) saveKey(options.out, seed);
    const secret = options.out ? {} : { private_key: seed.toString("base64") };
    return [{ public_key: key, ...secret }, [key, ...Object.values(secret)].join("\n")];
  },
  build(options, [directory]) {
    if (!directory) throw usage("name the directory");
    const manifest = manifestOf(directory, options);
    return [manifest, manifest];
  },
  sign(options, [file]) {
    if (!file) throw usage("name the manifest");
    const text = read(file);
    if (!(parseJson(text) instanceof Map)) throw new ArkError(`${file}: a manifest is a JSON object`);
    const envelope = signManifest(text, loadKey(options.key));
    return [envelope, envelope];
  },
  async publish(options, [file]) {
    const service = client(options.to, options);
    if (!file === !options.dir) throw usage("name a manifest or --dir, one of the two");
    const text = file ? read(file) : manifestOf(options.dir, options);
    const answer = await service.publish(signManifest(withIssuedAt(text), loadKey(options.key)));
    return [answer, printable(`${answer.status} ${answer.node_id}; expires in ${answer.expires_in} s`)];
  },
  async discover(options) {
    const peers = await client(options.from, options).discover(options["instance-type"]);
    const row = (peer) => [peer.node_id, peer.instance_type ?? "-", `${peer.node_count} nodes`, `${peer.expires_in} s`].map(printable).join("\t");
    return [{ peers, count: peers.length }, peers.map(row).join("\n") || "No live peers."];
  },
  async pull(options) {
    if (!options.dir) throw usage("name the directory: --dir DIR");
    const report = await client(options.from, options).pull(options.dir, { dryRun: options["dry-run"] });
    for (const [what, reason] of report.refused) process.stderr.write(`refused: ${printable(what)}: ${printable(reason)}\n`);
    const { added, changed, unchanged, kept, refused } = report;
    const text = `${added.length} added, ${changed.length} changed, ${unchanged.length} unchanged, ${kept.length} kept, ${refused.length} refused`;
    const where = report.kept_as.length ? `\nwhat was replaced is kept: ${report.kept_as.slice(0, 3).map(printable).join(", ")}${report.kept_as.length > 3 ? ", …" : ""}` : "";
    return [report, text + where, refused.length ? 5 : 0];
  },
  hash(options, [file]) {
    if (!file) throw usage("name the file");
    const hash = contentHash(parseJson(read(file)));
    return [{ hash }, hash];
  },
};

const OPTIONS = { json: { type: "boolean" }, help: { type: "boolean", short: "h" }, "dry-run": { type: "boolean" }, "print-secret": { type: "boolean" } };
for (const name of ["out", "key", "dir", "to", "from", "node-id", "instance-type", "seq", "timeout", "ca-file"]) OPTIONS[name] = { type: "string" };

/** Runs the command; answers the exit code. */
export async function main(args) {
  let json = args.includes("--json");
  try {
    let parsed;
    try {
      parsed = parseArgs({ args, options: OPTIONS, allowPositionals: true });
    } catch (error) {
      throw usage(error.message.split(". ")[0]);
    }
    const [name, ...rest] = parsed.positionals;
    json = parsed.values.json;
    if (parsed.values.help) {
      process.stdout.write(`${HELP}\n`);
      return 0;
    }
    if (!Object.hasOwn(COMMANDS, name ?? "")) throw usage(name ? `there is no command ${JSON.stringify(name)}` : "name a command");
    const [value, text, exit = 0] = await COMMANDS[name](parsed.values, rest);
    process.stdout.write(`${json && typeof value !== "string" ? JSON.stringify(value) : text}\n`);
    return exit;
  } catch (error) {
    const known = error instanceof ArkError ? error : new ArkError(`${error.code ?? error.name}: ${error.message}`);
    const message = printable(known.message);
    process.stderr.write(json ? `${JSON.stringify({ error: message, exit_code: known.exit, code: known.code })}\n` : `error: ${message}\n`);
    return known.exit;
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(fs.realpathSync(process.argv[1])).href) {
  process.exitCode = await main(process.argv.slice(2));
}
