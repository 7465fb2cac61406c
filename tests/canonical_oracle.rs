//! The canonical forms and the gate's verdicts against the programs that define them: CPython's `json`, and ECMAScript's.
//!
//! `ARK_ORACLE_DOCUMENTS` sets how many documents are tried, `ARK_ORACLE_SEED` which ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::as_conversions,
    reason = "a test stops at the first surprise and says on which document"
)]

use ark_lattice::json::{
    Document,
    jcs::{self, Integers},
    python,
};
use bytes::Bytes;
use std::{
    collections::HashSet,
    fs::File,
    io::{Seek, Write as _},
    process::{Command, Stdio},
    time::Instant,
};

const PYTHON: &str = r"
import json, sys
sys.set_int_max_str_digits(0)
source, out = sys.stdin.buffer, sys.stdout.buffer
while line := source.readline():
    text = source.read(int(line))
    try:
        out.write(json.dumps(json.loads(text.decode('utf-8')), sort_keys=True).encode('ascii'))
    except (ValueError, RecursionError):
        out.write(b'!')
    out.write(b'\n')
";

const NODE: &str = r"
const source = require('fs').readFileSync(0);
const write = value => {
    if (Array.isArray(value)) return '[' + value.map(write).join(',') + ']';
    if (value === null || typeof value !== 'object') return JSON.stringify(value);
    return '{' + Object.keys(value).sort().map(key => JSON.stringify(key) + ':' + write(value[key])).join(',') + '}';
};
const out = [];
for (let at = 0; at < source.length;) {
    const newline = source.indexOf(10, at);
    const end = newline + 1 + Number(source.toString('latin1', at, newline));
    out.push(write(JSON.parse(source.toString('utf8', newline + 1, end))));
    at = end;
}
require('fs').writeFileSync(1, out.join('\n') + '\n');
";

#[test]
fn python_form_and_verdicts_are_those_of_cpython() {
    let (documents, seed) = (setting("ARK_ORACLE_DOCUMENTS", 5_000), setting("ARK_ORACLE_SEED", 20_261_121));
    eprintln!("{documents} documents and as many damaged ones, ARK_ORACLE_SEED={seed}");
    let start = Instant::now();
    let mut random = Random(seed);
    let mut texts = awkward();
    let valid = texts.len() + documents as usize;
    texts.extend((0..documents).map(|_| random.document()));
    for _ in 0..documents {
        let victim = random.below(valid as u64) as usize;
        let text = if texts[victim].len() < 4_000 { texts[victim].clone() } else { random.document() };
        texts.push(random.damage(text));
    }

    let answers = ask("python3", &["-c", PYTHON], &texts).expect("python3 is needed");
    let (mut accepted, mut same_refusal, mut stricter) = (0, 0, 0);
    for (position, (text, answer)) in texts.iter().zip(&answers).enumerate() {
        let shown = String::from_utf8_lossy(text);
        match Document::parse(Bytes::copy_from_slice(text), 64) {
            Ok(document) => {
                let mut own = Vec::new();
                python::write(document.root(), &mut own);
                assert!(own == *answer, "{shown:?}\n  ours {}\nCPython {}", lossy(&own), lossy(answer));
                accepted += 1;
            }
            Err(error) => {
                assert!(position >= valid, "{shown:?} is valid: {error}");
                match error.code() {
                    "json_syntax" | "json_empty" | "json_not_utf8" | "json_bom" | "json_trailing_data" => {
                        assert!(answer == b"!", "CPython accepts {shown:?}: {error}");
                        same_refusal += 1;
                    }
                    _ => stricter += 1,
                }
            }
        }
    }
    eprintln!(
        "{accepted} equal, {same_refusal} refused by both, {stricter} refused for what only the gate asks, in {:.1?}",
        start.elapsed()
    );
}

#[test]
fn jcs_form_is_that_of_ecmascript() {
    let (documents, seed) = (setting("ARK_ORACLE_DOCUMENTS", 5_000), setting("ARK_ORACLE_SEED", 20_261_121));
    let mut random = Random(seed ^ 0x6a63_7300);
    let mut texts = Vec::new();
    let mut expected = Vec::new();
    for text in awkward().into_iter().chain((0..documents).map(|_| random.document())) {
        let document = Document::parse(Bytes::from(text.clone()), 64).unwrap();
        let mut own = Vec::new();
        // ECMAScript would round the integers that are refused here.
        if jcs::write(document.root(), Integers::Refuse, &mut own).is_ok() {
            texts.push(text);
            expected.push(own);
        }
    }
    let Some(answers) = ask("node", &["-e", NODE], &texts) else {
        eprintln!("node is not installed: the RFC's own samples in src/json/tests.rs have to do");
        return;
    };
    for ((text, own), answer) in texts.iter().zip(&expected).zip(&answers) {
        assert!(own == answer, "{:?}\n      ours {}\nECMAScript {}", lossy(text), lossy(own), lossy(answer));
    }
    eprintln!("{} of {documents} documents are plain JCS and equal, ARK_ORACLE_SEED={seed}", texts.len());
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[allow(clippy::disallowed_methods, reason = "settings/ is the service's; this is how a test is told to try more")]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// One answer, a line, for each text; none where the program is not installed.
fn ask(program: &str, arguments: &[&str], texts: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let mut input: File = tempfile::tempfile().unwrap();
    let mut frames = Vec::new();
    for text in texts {
        writeln!(frames, "{}", text.len()).unwrap();
        frames.extend_from_slice(text);
    }
    input.write_all(&frames).unwrap();
    input.rewind().unwrap();
    let child = Command::new(program).args(arguments).stdin(input).stdout(Stdio::piped()).spawn().ok()?;
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} failed");
    let mut answers: Vec<_> = output.stdout.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    assert_eq!(answers.pop(), Some(Vec::new()));
    assert_eq!(answers.len(), texts.len());
    Some(answers)
}

/// Texts that chance would not find.
fn awkward() -> Vec<Vec<u8>> {
    let mut texts: Vec<String> = Vec::new();
    for exponent in -345..=308 {
        texts.push(format!("[1e{exponent},-1.7976931348623157e{exponent},1.0000000000000002E{exponent}]"));
    }
    for bits in [1, 2, (1 << 52) - 1, 1 << 52, (1 << 52) + 1, f64::MAX.to_bits(), f64::MIN_POSITIVE.to_bits() - 1] {
        texts.push(format!("{:e}", f64::from_bits(bits)));
        texts.push(format!("{:.1100}", f64::from_bits(bits)));
    }
    // Every character, raw and escaped, a block in a text; surrogates are none.
    let characters: Vec<char> = ('\u{20}'..=char::MAX).collect();
    for block in characters.chunks(4_096) {
        let raw: String = block.iter().filter(|character| !matches!(character, '"' | '\\')).collect();
        texts.push(format!("\"{raw}\""));
        let escaped: String = block
            .iter()
            .flat_map(|character| character.encode_utf16(&mut [0; 2]).to_vec())
            .map(|unit| format!("\\u{unit:04X}"))
            .collect();
        texts.push(format!("{{\"{escaped}\":\"{escaped}\"}}"));
    }
    let zeros = "0".repeat(70_000);
    texts.extend([
        "9".repeat(5_000),
        format!("-1{}", "0".repeat(9_999)),
        format!("0.{zeros}1e70001"),
        format!("1{zeros}e-70000"),
        format!("1.{zeros}1"),
        format!("9007199254740993.{zeros}1"),
        format!("9007199254740993.{zeros}"),
        format!("1e-{zeros}5"),
        format!("0e{zeros}9"),
        format!("{}{}", "[".repeat(64), "]".repeat(64)),
        format!("{}0{}", r#"{"":"#.repeat(64), "}".repeat(64)),
        r#"{"$serde_json::private::Number":"1e5","__proto__":{"__proto__":1},"10":1,"9":2}"#.to_owned(),
    ]);
    texts.into_iter().map(String::into_bytes).collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn document(&mut self) -> Vec<u8> {
        let mut out = String::new();
        let mut budget = 1 + self.below(40);
        self.space(&mut out);
        self.value(0, &mut budget, &mut out);
        self.space(&mut out);
        out.into_bytes()
    }

    fn space(&mut self, out: &mut String) {
        if self.one_in(4) {
            out.push_str(self.pick(&[" ", "  ", "\n", "\r\n  ", "\t", "\n    \t"]));
        }
    }

    fn value(&mut self, depth: u64, budget: &mut u64, out: &mut String) {
        *budget = budget.saturating_sub(1);
        let container = depth == 0 || (depth < 12 && self.one_in(3));
        match self.below(10) {
            0..5 if container => self.object(depth, budget, out),
            5..10 if container => self.array(depth, budget, out),
            0 => out.push_str(self.pick(&["null", "true", "false"])),
            1..4 => self.string(out),
            _ => self.number(out),
        }
    }

    fn array(&mut self, depth: u64, budget: &mut u64, out: &mut String) {
        out.push('[');
        self.space(out);
        for element in 0..self.below(8).min(*budget) {
            if element > 0 {
                out.push(',');
                self.space(out);
            }
            self.value(depth + 1, budget, out);
            self.space(out);
        }
        out.push(']');
    }

    fn object(&mut self, depth: u64, budget: &mut u64, out: &mut String) {
        out.push('{');
        self.space(out);
        let mut seen = HashSet::new();
        // Sometimes more members than are compared pairwise.
        let members = if self.one_in(20) { 40 } else { self.below(8).min(*budget) };
        for _ in 0..members {
            let mut key = String::new();
            self.string(&mut key);
            let unescaped: String = serde_json::from_str(&key).unwrap();
            if !seen.insert(unescaped) {
                continue;
            }
            if seen.len() > 1 {
                out.push(',');
                self.space(out);
            }
            out.push_str(&key);
            self.space(out);
            out.push(':');
            self.space(out);
            self.value(depth + 1, budget, out);
            self.space(out);
        }
        out.push('}');
    }

    fn string(&mut self, out: &mut String) {
        out.push('"');
        // Long enough to cross the eight bytes that are looked at together, and short enough to repeat.
        let length = if self.one_in(4) { self.below(60) } else { self.below(6) };
        let ascii = self.one_in(2);
        for _ in 0..length {
            let character = if ascii { self.ascii() } else { self.character() };
            self.write_character(character, out);
        }
        out.push('"');
    }

    fn ascii(&mut self) -> char {
        char::from(b'a' + self.below(26) as u8)
    }

    fn character(&mut self) -> char {
        let (low, high) = match self.below(9) {
            0 => (0, 0x20),
            1 => (0x20, 0x80),
            2 => (0x7e, 0xa1),
            3 => (0x80, 0x800),
            4 => (0x800, 0xd800),
            5 => (0xe000, 0x1_0000),
            6 => (0x2026, 0x202b),
            7 => (0x1_0000, 0x11_0000),
            _ => (u32::from('a'), u32::from('e')),
        };
        char::from_u32(low + self.below(u64::from(high - low)) as u32).unwrap()
    }

    fn write_character(&mut self, character: char, out: &mut String) {
        let short = match character {
            '"' => "\\\"",
            '\\' => "\\\\",
            '/' => "\\/",
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            _ => "",
        };
        let raw_allowed = character >= ' ' && !matches!(character, '"' | '\\');
        match self.below(4) {
            0 if !short.is_empty() => out.push_str(short),
            1..4 if raw_allowed => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let digits = if self.0 & 1 == 0 { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") };
                    out.push_str(&digits);
                }
            }
        }
    }

    fn finite(&mut self) -> f64 {
        loop {
            let number = f64::from_bits(self.next());
            if number.is_finite() {
                return number;
            }
        }
    }

    fn number(&mut self, out: &mut String) {
        let text = match self.below(16) {
            0 => (self.below(2_000) as i64 - 1_000).to_string(),
            1 => (self.next() as i64).to_string(),
            2 => self.next().to_string(),
            3 => {
                let most = if self.one_in(50) { 2_000 } else { 40 };
                format!("{}{}", self.pick(&["", "-"]), self.digits(most))
            }
            // Around ±(2^53 − 1).
            4 => format!("{}{}", self.pick(&["", "-"]), (1_u64 << 53) - 8 + self.below(16)),
            5 => self
                .pick(&["0", "-0", "-0.0", "0.0", "0e0", "-0E+5", "0e999", "0.000e-99999", "1e-400", "-1E-5000"])
                .to_owned(),
            6 => format!("{:e}", self.finite()),
            7 => format!("{}", self.finite() / 1e270),
            8 => format!("{:.60}", self.finite().abs().sqrt().sqrt().sqrt()),
            // Subnormal.
            9 => format!("{:e}", f64::from_bits(self.below(1 << 52))),
            // A tie: 54 bits, the lowest set, so half way between two doubles.
            10 => {
                let tie = ((1 << 53) | self.below(1 << 53)) * 2 + 1;
                format!(
                    "{}{}",
                    u128::from(tie) << self.below(60),
                    self.pick(&[".0", "e0", ".000E-0", ".0000000000000000000000001"])
                )
            }
            // A short decimal, whatever its exponent.
            11 => format!("{}.{}e{}", self.below(10), self.below(1_000), self.below(600) as i64 - 310),
            12 => format!("{}.{}", self.below(100_000), self.below(1_000_000)),
            13 => format!(
                "{}{}E{}{:02}",
                self.pick(&["", "-"]),
                self.digits(25),
                self.pick(&["", "+", "-"]),
                self.below(280)
            ),
            // Around the exponents at which the forms change their notation.
            14 => format!("{}e{}", 1 + self.below(99_999), self.below(32) as i64 - 12),
            _ => format!(
                "0.{}{}e{}",
                "0".repeat(self.below(400) as usize),
                self.digits(20),
                self.below(700) as i64 - 350
            ),
        };
        out.push_str(if text.parse::<f64>().unwrap().is_finite() || !text.contains(['.', 'e', 'E']) {
            &text
        } else {
            "1.5"
        });
    }

    /// A positive integer of up to `most` digits.
    fn digits(&mut self, most: u64) -> String {
        let mut text = char::from(b'1' + self.below(9) as u8).to_string();
        for _ in 0..self.below(most) {
            text.push(char::from(b'0' + self.below(10) as u8));
        }
        text
    }

    /// Breaks a text, most of the time.
    fn damage(&mut self, mut text: Vec<u8>) -> Vec<u8> {
        let tokens: [&[u8]; 32] = [
            b",",
            b":",
            b"[",
            b"]",
            b"{",
            b"}",
            b"\"",
            b"\\",
            b"0",
            b"-",
            b"+",
            b".",
            b"e",
            b"\0",
            b"\x1f",
            b"\x7f",
            b"\x80",
            b"\xff",
            b"\xc3",
            b"\xed\xa0\x80",
            b"\xef\xbb\xbf",
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b"1e999",
            b"\\u",
            b"\\ud800",
            b"\\udc00",
            b"//",
            b"null",
            b" ",
            b"01",
        ];
        for _ in 0..=self.below(2) {
            let at = self.below(text.len() as u64 + 1) as usize;
            match self.below(4) {
                0 => text.truncate(at),
                1 if at < text.len() => drop(text.remove(at)),
                2 if at < text.len() => text[at] = (self.next() & 0xff) as u8,
                _ => {
                    let token = tokens[self.below(32) as usize];
                    text.splice(at..at, token.iter().copied());
                }
            }
        }
        text
    }
}
