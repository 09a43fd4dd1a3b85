//! The log: standard error, for people or for programs.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::flags::LogFormat;

/// The log, whose filter can be replaced.
pub(crate) struct Log(reload::Handle<EnvFilter, Registry>);

/// Sends the log to standard error from now on.
pub(crate) fn start(filter: &str, format: LogFormat) -> anyhow::Result<Log> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("invalid log filter {filter:?}"))?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => registry.with(lines.json()).init(),
        LogFormat::Text => {
            registry.with(lines.with_ansi(std::io::stderr().is_terminal()).with_target(false)).init();
        }
    }
    Ok(Log(handle))
}

impl Log {
    /// Replaces the filter, which the settings have already checked.
    pub(crate) fn reload(&self, filter: &str) {
        let replaced = EnvFilter::try_new(filter).map(|filter| self.0.reload(filter));
        if let Err(error) = replaced {
            tracing::warn!(%error, "invalid log filter {filter:?}: the old one stays in use");
        }
    }
}
