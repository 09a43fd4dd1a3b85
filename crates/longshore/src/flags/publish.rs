use std::path::PathBuf;

use clap::Args;
use longshore_model::PublishJob;

use super::Wrong;

/// Publishing containers to etcd.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Publishing to etcd")]
pub(crate) struct PublishFlags {
    /// A member of the etcd that containers are published to; may be repeated [default: they are not published].
    #[arg(long, value_name = "URL", action = clap::ArgAction::Append)]
    pub(crate) publish_etcd: Vec<String>,
    /// A container's key is this, a slash, and its id [default: /longshore/containers/<node>].
    #[arg(long, value_name = "PREFIX")]
    pub(crate) publish_prefix: Option<String>,
    /// Where the DNS records go that CoreDNS reads from etcd, such as /skydns [default: nowhere].
    #[arg(long, value_name = "PREFIX")]
    pub(crate) publish_skydns: Option<String>,
    /// Publish the values of containers' environment variables too, not only their names.
    #[arg(long)]
    pub(crate) publish_env: bool,
    /// How long keys outlive the agent.
    #[arg(long, value_name = "TIME", default_value = "15s")]
    pub(crate) publish_lease: humantime::Duration,
    /// etcd's user, where it wants one.
    #[arg(long, value_name = "NAME", requires = "publish_password_file")]
    pub(crate) publish_user: Option<String>,
    /// A file with that user's password, readable by its owner only.
    #[arg(long, value_name = "FILE")]
    pub(crate) publish_password_file: Option<PathBuf>,
    /// The authority that signed etcd's certificates, if this machine does not trust it anyway.
    #[arg(long, value_name = "FILE")]
    pub(crate) publish_ca: Option<PathBuf>,
    /// The agent's own certificate, where etcd wants one.
    #[arg(long, value_name = "FILE", requires = "publish_key")]
    pub(crate) publish_cert: Option<PathBuf>,
    /// That certificate's key.
    #[arg(long, value_name = "FILE", requires = "publish_cert")]
    pub(crate) publish_key: Option<PathBuf>,
}

impl PublishFlags {
    pub(crate) fn settings(&self) -> Result<Option<PublishJob>, Wrong> {
        if self.publish_etcd.is_empty() {
            return Ok(None);
        }
        if self.publish_lease.as_secs() < 2 {
            return Err(("publish-lease", "it is at least 2s".to_owned()));
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
}
