use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use longshore_daemon::config::IpNet;
use longshore_haproxy::{Mode, Reload, Settings, template_dirs};

use super::Invalid;
use crate::cli::values;

/// Only for `--balancer haproxy`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "HAProxy")]
pub(crate) struct HaproxyFlags {
    /// HAProxy binary that the agent runs.
    #[arg(long, value_name = "FILE", default_value = "haproxy")]
    pub(crate) haproxy_binary: PathBuf,
    /// Configuration file of a HAProxy that is already running; the agent configures it, and starts none.
    #[arg(long, value_name = "FILE")]
    pub(crate) haproxy_config: Option<PathBuf>,
    /// Stats socket of that HAProxy [default: the one in its configuration file, else the distribution's].
    #[arg(long, value_name = "SOCKET")]
    pub(crate) haproxy_socket: Option<PathBuf>,
    /// Command that reloads it (quotes as in a shell), or path of its master socket.
    #[arg(long, value_name = "COMMAND", default_value = "systemctl reload haproxy", value_parser = values::reload)]
    pub(crate) haproxy_reload: String,
    /// HAProxy's access log, as in its `log` directive; `none` for no log [default: `/dev/log local0` with --haproxy-config,
    /// where /dev/log exists].
    #[arg(long, value_name = "TARGET")]
    pub(crate) haproxy_log: Option<String>,
    /// Address of HAProxy's statistics page; `none` for no page.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    pub(crate) haproxy_stats: String,
    /// Template directories, separated by colons.
    #[arg(long, value_name = "DIRS")]
    pub(crate) template_dir: Option<String>,
    /// Name of the template in those directories.
    #[arg(long, value_name = "NAME", default_value = "haproxy.cfg.j2")]
    pub(crate) template_file: String,
}

impl HaproxyFlags {
    /// Resolves the flags. `bind` are the addresses that frontends listen on; empty means all.
    pub(crate) fn settings(
        &self,
        data_dir: &Path,
        bind: &[IpAddr],
        trusted: &[IpNet],
    ) -> Result<Settings, Invalid> {
        let mode = match &self.haproxy_config {
            Some(config) => Mode::Attach {
                config: config.clone(),
                socket: self.haproxy_socket.clone(),
                reload: Reload::parse(&self.haproxy_reload)
                    .map_err(|error| ("haproxy-reload", error.to_string()))?,
            },
            None => Mode::Own { dir: data_dir.join("haproxy") },
        };
        let stats = match self.haproxy_stats.as_str() {
            "none" => None,
            text => Some(text.parse().map_err(|_| {
                ("haproxy-stats", format!("invalid address {text:?}: expected ADDRESS:PORT"))
            })?),
        };
        let defaults = Settings::new(mode);
        let folders = self.template_dir.as_deref();
        Ok(Settings {
            binary: self.haproxy_binary.clone(),
            bind: if bind.is_empty() { defaults.bind.clone() } else { bind.to_vec() },
            trusted: trusted.to_vec(),
            stats,
            log: match self.haproxy_log.as_deref() {
                None => defaults.log.clone(),
                Some("none") => None,
                Some(target) => Some(target.to_owned()),
            },
            template_dirs: folders.map_or_else(Vec::new, |folders| template_dirs(folders, &[])),
            template_file: Some(self.template_file.clone()),
            ..defaults
        })
    }
}
