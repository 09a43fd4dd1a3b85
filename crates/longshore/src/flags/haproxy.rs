use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use longshore_daemon::config::IpNet;
use longshore_haproxy::{Mode, Reload, Settings, template_dirs};

use super::Invalid;

/// Only for `--balancer haproxy`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "HAProxy")]
pub(crate) struct HaproxyFlags {
    /// The program that the agent runs.
    #[arg(long, value_name = "FILE", default_value = "haproxy")]
    pub(crate) haproxy_binary: PathBuf,
    /// The configuration file of a HAProxy that runs already: it is driven, and none is started.
    #[arg(long, value_name = "FILE")]
    pub(crate) haproxy_config: Option<PathBuf>,
    /// That HAProxy's administration socket.
    #[arg(long, value_name = "SOCKET", default_value = "/run/haproxy/admin.sock")]
    pub(crate) haproxy_socket: PathBuf,
    /// How it is reloaded: a command, or the path of its master socket.
    #[arg(long, value_name = "COMMAND", default_value = "systemctl reload haproxy")]
    pub(crate) haproxy_reload: String,
    /// Where HAProxy shows its statistics page; `none` for nowhere.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    pub(crate) haproxy_stats: String,
    /// Folders with templates, with colons between them.
    #[arg(long, value_name = "DIRS")]
    pub(crate) template_dir: Option<String>,
    /// The template's name in those folders.
    #[arg(long, value_name = "NAME", default_value = "haproxy.cfg.j2")]
    pub(crate) template_file: String,
}

impl HaproxyFlags {
    /// `bind` are the addresses that frontends listen on, all if there is none.
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
                reload: reload(&self.haproxy_reload),
            },
            None => Mode::Own { dir: data_dir.join("haproxy") },
        };
        let stats = match self.haproxy_stats.as_str() {
            "none" => None,
            text => Some(
                text.parse().map_err(|_| ("haproxy-stats", format!("{text:?} is no address and port")))?,
            ),
        };
        let defaults = Settings::new(mode);
        let folders = self.template_dir.as_deref();
        Ok(Settings {
            binary: self.haproxy_binary.clone(),
            bind: if bind.is_empty() { defaults.bind.clone() } else { bind.to_vec() },
            trusted: trusted.to_vec(),
            stats,
            template_dirs: folders.map_or_else(Vec::new, |folders| template_dirs(folders, &[])),
            template_file: Some(self.template_file.clone()),
            ..defaults
        })
    }
}

/// How a HAProxy that runs already is reloaded: an absolute path of a socket, or else a command.
pub(crate) fn reload(text: &str) -> Reload {
    if text.starts_with('/') && !text.contains(' ') {
        Reload::Master(text.into())
    } else {
        Reload::Command(text.split_whitespace().map(str::to_owned).collect())
    }
}
