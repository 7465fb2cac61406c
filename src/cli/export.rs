//! `export`

use super::{
    exit::{Exit, Failure},
    input,
    job::{self, LatticeArg},
    output::{Output, count, size},
    progress::Progress,
    stop,
};
use crate::ops::{self, ExportError, ExportForm, ExportReport, Glob, Interrupt, Selection, WholeFile};
use serde_json::{Value, json};
use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
};

/// Broken files that are named one by one.
const NAMED: usize = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nodes keep every digit and the order of their keys; only white space between
the parts goes. Broken files are named, everything else is exported, and the
exit code is 5. The manifest hash is that of the exported nodes: import --exact
of the file prints the same one.

Examples:
  ark-lattice export --out backup.ndjson
  ark-lattice export --id 'python_*' --type framework_node --format json
  ark-lattice export --from https://ark.example --out theirs.ndjson
  ark-lattice export | gzip > backup.ndjson.gz

With --json and --out; without --out only the nodes are printed:
  {\"nodes\": 2, \"bytes\": 80, \"manifest_hash\": \"sha256:…\", \"broken_total\": 1,
   \"broken\": [{\"file\": \"a.json\", \"reason\": \"…\"}], \"out\": \"backup.ndjson\",
   \"format\": \"ndjson\"}")]
pub(super) struct Args {
    /// The file to write, whole or not at all; - for standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// One node a line, or one list; otherwise a list if FILE ends in .json, else one node a line.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Only ids that fit: * stands for any text, ? for one character, \ before either for itself. May be given several times.
    #[arg(long, value_name = "PATTERN")]
    id: Vec<String>,
    /// Only nodes of this type.
    #[arg(long = "type", value_name = "TYPE")]
    node_type: Option<String>,
    /// The nodes of this running instance instead of a directory's, such as http://127.0.0.1:9001.
    #[arg(long, value_name = "URL", conflicts_with = "lattice")]
    from: Option<String>,
    #[command(flatten)]
    lattice: LatticeArg,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// One list.
    Json,
    /// One node a line.
    Ndjson,
}

impl Args {
    fn form(&self) -> ExportForm {
        match self.format {
            Some(Format::Json) => ExportForm::Json,
            Some(Format::Ndjson) => ExportForm::Ndjson,
            None if self.out.extension().is_some_and(|extension| extension == "json") => ExportForm::Json,
            None => ExportForm::Ndjson,
        }
    }

    /// Writes the nodes to `out`.
    fn write(&self, out: impl Write, output: &Output) -> Result<ExportReport, Failure> {
        let selection = Selection {
            ids: self.id.iter().map(|pattern| Glob::new(pattern)).collect(),
            node_type: self.node_type.clone(),
        };
        let progress = Progress::new("exporting", output);
        let advance = |done: usize, total: usize| progress.at(done, Some(total));
        match &self.from {
            None => {
                let (_, directory) = self.lattice.open()?;
                Ok(ops::export(&directory, &selection, self.form(), out, advance)?)
            }
            Some(url) => {
                let settings = self.lattice.settings()?;
                let client = job::client(&settings, url)?;
                job::wait(ops::export_remote(&client, &settings.limits(), &selection, self.form(), out, advance))
            }
        }
    }
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let report = if input::is_stdin(&args.out) {
        let report = args.write(BufWriter::new(io::stdout().lock()), output)?;
        output.remark(summary(&report));
        report
    } else {
        let report = to_file(args, &stop::on_signal(output)?, output)?;
        output.answer(|| as_json(&report, args), || format!("{}: {}", args.out.display(), summary(&report)))?;
        report
    };
    verdict(&report, args, output)
}

fn to_file(args: &Args, interrupt: &Interrupt, output: &Output) -> Result<ExportReport, Failure> {
    let mut file = interrupt.begin(|| {
        let file = WholeFile::create(&args.out)?;
        let path = file.temporary_path().to_owned();
        Ok::<_, Failure>((file, path))
    })?;
    let report = args.write(&mut file, output)?;
    let path = file.temporary_path().to_owned();
    interrupt.finish(&path, || file.commit())?;
    Ok(report)
}

/// What was not exported is never passed over in silence.
fn verdict(report: &ExportReport, args: &Args, output: &Output) -> Result<(), Failure> {
    if report.broken_total > 0 {
        for broken in report.broken.iter().take(NAMED) {
            output.remark(format!("left out {}: {}", super::output::printable(&broken.file), broken.reason));
        }
        let next = match &args.from {
            None => "see: ark-lattice node verify".to_owned(),
            Some(url) => format!("see: {url}/health"),
        };
        let left_out = count(report.broken_total, "broken file");
        return Err(Failure::differs(format!("{left_out} left out, all else is exported; {next}")));
    }
    if report.changed_meanwhile {
        return Err(Failure::differs("nodes changed there while they came: it is no one state; export again"));
    }
    Ok(())
}

fn as_json(report: &ExportReport, args: &Args) -> Value {
    let broken: Vec<Value> =
        report.broken.iter().map(|broken| json!({"file": broken.file, "reason": broken.reason})).collect();
    json!({
        "nodes": report.nodes, "bytes": report.bytes, "manifest_hash": report.set_hash, "broken": broken,
        "broken_total": report.broken_total, "out": args.out,
        "format": if args.form() == ExportForm::Json { "json" } else { "ndjson" },
    })
}

fn summary(report: &ExportReport) -> String {
    format!("{}, {}; manifest hash {}", count(report.nodes, "node"), size(report.bytes), report.set_hash)
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Directory(error) => error.into(),
            ExportError::Client(error) => error.into(),
            ExportError::Answer(_) => Self::new(Exit::Refused, error),
            ExportError::Output(error) => error.into(),
        }
    }
}
