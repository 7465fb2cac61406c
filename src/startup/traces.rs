//! Traces, from the settings.

use super::StartupError;
use crate::{
    settings::Settings,
    telemetry::{ExportOptions, Exporter, Metrics, Tracer, tracer},
    types::SharedClock,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Brings traces to the collector; does nothing until [`Self::start`].
pub(super) struct Traces(Option<Exporter>);

/// What makes spans, and what exports them: nothing does where no collector is named.
pub(super) fn open(
    settings: &Settings,
    clock: &SharedClock,
    metrics: &Metrics,
) -> Result<(Tracer, Traces), StartupError> {
    let Some(collector) = settings.collector()? else { return Ok((Tracer::default(), Traces(None))) };
    let (tracer, spans) = tracer(clock.clone(), settings.tracing.sample_percent, metrics.spans());
    let options = ExportOptions {
        url: collector.url,
        headers: collector.headers,
        service: settings.tracing.service_name.clone(),
        instance: settings.node_id()?.to_string(),
        metrics: metrics.spans(),
    };
    let exporter = Exporter::new(spans, options).map_err(|error| StartupError::Traces(error.to_string()))?;
    Ok((tracer, Traces(Some(exporter))))
}

/// Traces that are exported.
pub(super) struct Exporting(Option<(CancellationToken, JoinHandle<()>)>);

impl Traces {
    /// Exports from now on.
    pub(super) fn start(self) -> Exporting {
        let stop = CancellationToken::new();
        Exporting(self.0.map(|exporter| (stop.clone(), tokio::spawn(exporter.run(stop)))))
    }
}

impl Exporting {
    /// Exports what is left, and waits for it a little.
    pub(super) async fn finish(self) {
        let Some((stop, exporter)) = self.0 else { return };
        stop.cancel();
        // It panics nowhere; if it did, there would be nothing to export with.
        drop(exporter.await);
    }
}
