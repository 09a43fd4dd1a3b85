use clap::{Args, ValueEnum};

use crate::cli::values;

/// The log, on standard error.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogFlags {
    /// Log level (off, error, warn, info, debug, trace), or a filter such as info,longshore_daemon=debug.
    #[arg(long, value_name = "FILTER", default_value = "info", value_parser = values::log_filter)]
    pub(crate) log: String,
    /// Log format.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}
