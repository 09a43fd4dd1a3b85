use std::path::PathBuf;

use clap::Args;
use longshore_model::PublishJob;

use super::Invalid;
use crate::cli::values;

/// Publishing containers to etcd.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Publishing to etcd")]
pub(crate) struct PublishFlags {
    /// URL of an etcd member to publish containers to; repeatable [default: nothing is published].
    #[arg(long, value_name = "URL", action = clap::ArgAction::Append)]
    pub(crate) publish_etcd: Vec<String>,
    /// Prefix of the containers' keys, which end in the container's id [default: /longshore/containers/NODE].
    #[arg(long, value_name = "PREFIX")]
    pub(crate) publish_prefix: Option<String>,
    /// Prefix of the DNS records that CoreDNS reads from etcd, such as /skydns [default: no records].
    #[arg(long, value_name = "PREFIX")]
    pub(crate) publish_skydns: Option<String>,
    /// Publish the values of containers' environment variables, not only their names.
    #[arg(long)]
    pub(crate) publish_env: bool,
    /// Time that keys outlive the agent.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = values::duration)]
    pub(crate) publish_lease: humantime::Duration,
    /// User name for etcd.
    #[arg(long, value_name = "NAME")]
    pub(crate) publish_user: Option<String>,
    /// File with that user's password, readable only by its owner.
    #[arg(long, value_name = "FILE")]
    pub(crate) publish_password_file: Option<PathBuf>,
    /// Certificate authority of etcd [default: those that this machine trusts].
    #[arg(long, value_name = "FILE")]
    pub(crate) publish_ca: Option<PathBuf>,
    /// Client certificate for etcd.
    #[arg(long, value_name = "FILE")]
    pub(crate) publish_cert: Option<PathBuf>,
    /// Key of the client certificate.
    #[arg(long, value_name = "FILE")]
    pub(crate) publish_key: Option<PathBuf>,
}

impl PublishFlags {
    pub(crate) fn settings(&self) -> Result<Option<PublishJob>, Vec<Invalid>> {
        let invalid = self.invalid();
        if !invalid.is_empty() {
            return Err(invalid);
        }
        if self.publish_etcd.is_empty() {
            return Ok(None);
        }
        let identity = self.publish_cert.clone().zip(self.publish_key.clone());
        Ok(Some(PublishJob {
            endpoints: self.publish_etcd.clone(),
            prefix: self.publish_prefix.clone(),
            skydns: self.publish_skydns.clone(),
            env: self.publish_env,
            lease: self.publish_lease.into(),
            user: self.publish_user.clone(),
            password_file: self.publish_password_file.clone(),
            ca: self.publish_ca.clone(),
            identity,
        }))
    }

    /// Returns each setting that is incomplete without another, wherever the two are written.
    fn invalid(&self) -> Vec<Invalid> {
        let needs = [
            (
                "publish-user",
                self.publish_user.is_some(),
                "publish-password-file",
                self.publish_password_file.is_some(),
            ),
            ("publish-cert", self.publish_cert.is_some(), "publish-key", self.publish_key.is_some()),
            ("publish-key", self.publish_key.is_some(), "publish-cert", self.publish_cert.is_some()),
        ];
        let missing = needs.into_iter().filter(|(_, given, _, other)| *given && !*other);
        let mut invalid: Vec<Invalid> =
            missing.map(|(key, _, other, _)| (key, format!("{other} is missing: set both"))).collect();
        if self.publish_lease.as_secs() < 2 {
            invalid.push((
                "publish-lease",
                format!("{} is too short: expected at least 2s", self.publish_lease),
            ));
        }
        invalid
    }
}
