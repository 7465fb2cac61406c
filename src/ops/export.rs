//! The nodes of a data directory, or of another instance, as one text that an import takes back.

use super::{selection::Selection, set_sum::SetSum};
use crate::{
    federation::client::{Client, ClientError},
    json::write_compact,
    lattice::{
        BrokenFile, NodeDocument,
        offline::{OfflineDirectory, OfflineError, Walked},
    },
    types::{Limits, SetHash},
};
use std::io::{self, Write};

/// The most answers that one export follows.
const MAX_PAGES: usize = 10_000;

/// Why an export did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] OfflineError),
    /// The other side did not do it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What it sent is not a node.
    #[error("the answer is not what an ark-lattice service gives: {0}")]
    Answer(String),
    /// Nobody takes what is written, or the disk is full.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// How the text is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportForm {
    /// One node a line.
    Ndjson,
    /// One list, one node a line in it.
    Json,
}

/// What was exported.
#[derive(Debug)]
pub struct ExportReport {
    /// How many nodes.
    pub nodes: usize,
    /// The length of the text, bytes.
    pub bytes: u64,
    /// The set hash of what was exported.
    pub set_hash: SetHash,
    /// Files that are not nodes; they are not in the text.
    pub broken: Vec<BrokenFile>,
    /// How many of those there are. The other side names a hundred at most.
    pub broken_total: usize,
    /// The other side's nodes changed while they came: what came is no state that it ever was in.
    pub changed_meanwhile: bool,
}

/// Writes node after node.
struct Exporter<'a, W> {
    out: W,
    form: ExportForm,
    selection: &'a Selection,
    sum: SetSum,
    nodes: usize,
    bytes: u64,
    line: Vec<u8>,
}

impl<'a, W: Write> Exporter<'a, W> {
    fn new(out: W, form: ExportForm, selection: &'a Selection) -> Self {
        Self { out, form, selection, sum: SetSum::default(), nodes: 0, bytes: 0, line: Vec::new() }
    }

    fn take(&mut self, node: &NodeDocument) -> io::Result<()> {
        if !self.selection.takes(node) {
            return Ok(());
        }
        self.line.clear();
        self.line.extend_from_slice(match (self.form, self.nodes) {
            (ExportForm::Ndjson, 0) => b"",
            (ExportForm::Ndjson, _) => b"\n",
            (ExportForm::Json, 0) => b"[\n",
            (ExportForm::Json, _) => b",\n",
        });
        write_compact(node.document().source(), &mut self.line);
        self.sum.add(node);
        self.nodes += 1;
        self.send()
    }

    fn send(&mut self) -> io::Result<()> {
        self.bytes = self.bytes.saturating_add(u64::try_from(self.line.len()).unwrap_or(u64::MAX));
        self.out.write_all(&self.line)
    }

    fn finish(mut self) -> io::Result<ExportReport> {
        self.line.clear();
        self.line.extend_from_slice(match (self.form, self.nodes) {
            (ExportForm::Ndjson, 0) => b"",
            (ExportForm::Ndjson, _) => b"\n",
            (ExportForm::Json, 0) => b"[]\n",
            (ExportForm::Json, _) => b"\n]\n",
        });
        self.send()?;
        self.out.flush()?;
        Ok(ExportReport {
            nodes: self.nodes,
            bytes: self.bytes,
            set_hash: self.sum.finish(),
            broken: Vec::new(),
            broken_total: 0,
            changed_meanwhile: false,
        })
    }
}

/// Writes the selected nodes to `out`, in order of file name, one in memory at a time. `progress` hears how many files are read,
/// and of how many.
///
/// # Errors
/// [`ExportError`]; what was written until then is no whole text.
pub fn export(
    directory: &OfflineDirectory,
    selection: &Selection,
    form: ExportForm,
    out: impl Write,
    mut progress: impl FnMut(usize, usize),
) -> Result<ExportReport, ExportError> {
    let mut exporter = Exporter::new(out, form, selection);
    let (mut broken, mut done) = (Vec::new(), 0);
    directory.walk(|walked, total| -> Result<(), ExportError> {
        done += 1;
        progress(done, total);
        match walked {
            Walked::Node(node) => exporter.take(&node)?,
            Walked::Broken(file) => broken.push(file),
        }
        Ok(())
    })?;
    let broken_total = broken.len();
    Ok(ExportReport { broken, broken_total, ..exporter.finish()? })
}

/// As [`export`], of what another instance holds. `progress` hears how many came, and of how many.
///
/// # Errors
/// [`ExportError`]; what was written until then is no whole text.
pub async fn export_remote(
    client: &Client,
    limits: &Limits,
    selection: &Selection,
    form: ExportForm,
    out: impl Write,
    mut progress: impl FnMut(usize, usize),
) -> Result<ExportReport, ExportError> {
    let mut exporter = Exporter::new(out, form, selection);
    let mut whole = SetSum::default();
    let (mut cursor, mut hashes, mut came) = (None, Vec::new(), 0);
    let total = client.node_total().await?;
    for _ in 0..MAX_PAGES {
        let mut answer = client.sync(request(cursor.as_deref())).await?;
        let before = came;
        while let Some(line) = answer.next_line().await? {
            let node = NodeDocument::parse(line, limits.json_depth);
            let node = node.map_err(|error| ExportError::Answer(error.to_string()))?;
            whole.add(&node);
            exporter.take(&node)?;
            came += 1;
            progress(came, total.max(came));
        }
        hashes.push(answer.set_hash);
        let next = answer.cursor.filter(|next| came > before && Some(next) != cursor.as_ref());
        if next.is_none() {
            break;
        }
        cursor = next;
    }
    let held = whole.finish();
    let changed_meanwhile = hashes.iter().any(|hash| *hash != held);
    let (broken, broken_total) = client.broken_files().await?;
    let broken = broken.into_iter().map(|(file, reason)| BrokenFile { file, reason }).collect();
    Ok(ExportReport { broken, broken_total, changed_meanwhile, ..exporter.finish()? })
}

/// Somebody who holds nothing lacks everything.
fn request(cursor: Option<&str>) -> String {
    match cursor {
        Some(cursor) => serde_json::json!({"nodes": [], "cursor": cursor}).to_string(),
        None => "{\"nodes\":[]}".to_owned(),
    }
}
