//! `longshore dockermod`, also called `dockermod`: the agent, with the settings of DockerMod's files.
//!
//! Both files become flags of `run`, which the flags of the command line follow and so override.

mod cluster_xml;
mod conf;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use longshore_model::Problem;

use crate::cli::Dockermod;
use crate::config_error::{ConfigError, ConfigErrors, Source};
use crate::settings::{Resolved, resolve};
use cluster_xml::ClusterXml;
use conf::Conf;

/// The name of Hazelcast's file.
const CLUSTER_XML: &str = "cluster.xml";
/// DockerMod's default name of a cluster.
const DEFAULT_CLUSTER: &str = "deblox";
/// Maximum length of a file, in bytes.
const MAX_LENGTH: u64 = 1024 * 1024;

/// Resolves DockerMod's flags and files to the agent's settings.
pub(crate) fn settings(arguments: &Dockermod) -> Result<Resolved, ConfigErrors> {
    let conf = arguments.conf.as_deref().map(Conf::read).transpose()?.unwrap_or_default();
    let found = cluster_xml(arguments, std::env::var_os("VERTX_HOME").map(PathBuf::from).as_deref());
    let xml = found.as_deref().filter(|_| arguments.cluster).map(ClusterXml::read).transpose()?;
    let xml = xml.unwrap_or_default();
    let mut flags = conf.flags.clone();
    if arguments.cluster {
        let name = conf.cluster.or(xml.name).unwrap_or_else(|| DEFAULT_CLUSTER.to_owned());
        flags.push(format!("--cluster={name}").into());
        flags.extend(xml.join.iter().map(|host| OsString::from(format!("--join={host}"))));
        flags.extend(xml.multicast.map(|on| OsString::from(format!("--multicast={on}"))));
    }
    flags.extend(arguments.cluster_host.iter().map(|host| OsString::from(format!("--advertise={host}"))));
    flags.extend(arguments.run.iter().cloned());
    let mut resolved = resolve(&flags)?;
    let ignored = [(arguments.conf.as_deref(), conf.ignored), (found.as_deref(), xml.ignored)];
    let warnings = ignored.into_iter().filter_map(|(path, ignored)| warning(path?, &ignored));
    resolved.settings.ignored.extend(warnings);
    Ok(resolved)
}

/// Returns where Hazelcast's file is: where it is said to be, beside `conf.json`, or in Vert.x's folder.
fn cluster_xml(arguments: &Dockermod, vertx_home: Option<&Path>) -> Option<PathBuf> {
    let beside = arguments.conf.as_deref().and_then(Path::parent).map(|folder| folder.join(CLUSTER_XML));
    let vertx = vertx_home.map(|home| home.join("conf").join(CLUSTER_XML));
    let usual = || [beside, vertx].into_iter().flatten().find(|path| path.is_file());
    arguments.cluster_xml.clone().or_else(usual)
}

/// Returns one warning about everything in a file that has no effect.
fn warning(path: &Path, ignored: &[String]) -> Option<Problem> {
    if ignored.is_empty() {
        return None;
    }
    let source = Source::File { path: path.to_owned(), line: None };
    let message = format!("without effect: {}", ignored.join(", "));
    Some(Problem::from(&ConfigError { source, key: None, message, hint: None }))
}

fn error(path: &Path, line: Option<usize>, key: Option<&str>, message: impl Into<String>) -> ConfigError {
    let source = Source::File { path: path.to_owned(), line };
    ConfigError { source, key: key.map(str::to_owned), message: message.into(), hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn with(files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in files {
                std::fs::write(folder.path().join(name), text).unwrap();
            }
            Self(folder)
        }

        fn arguments(&self, run: &[&str]) -> Dockermod {
            Dockermod {
                conf: Some(self.0.path().join("conf.json")),
                cluster: true,
                cluster_host: None,
                cluster_xml: None,
                run: run.iter().map(OsString::from).collect(),
            }
        }
    }

    /// The file of DockerMod's document.
    const CONF: &str = r#"{
  "main": "com.deblox.docker.DockerMod",
  "services": ["com.deblox.docker.services.ContainerTrackingService", "com.deblox.docker.services.HttpService"],
  "clusterAddress": "deblox",
  "dockerHost": "localhost",
  "dockerPort": 5555,
  "announceInterval": 1250,
  "trackingServiceInterval": 10000,
  "taskTimeout": 2500
}"#;

    #[test]
    fn the_documents_file_is_the_agents_settings() {
        let folder = Folder::with(&[("conf.json", CONF)]);
        let Resolved { settings, .. } = settings(&folder.arguments(&[])).unwrap();
        assert_eq!(settings.docker.address.to_string(), "tcp://localhost:5555");
        assert_eq!(settings.dockermod.rest_port, Some(8080));
        assert_eq!(settings.resync.as_secs(), 10);
        assert_eq!(settings.dockermod.task_timeout.as_millis(), 2500);
        assert_eq!(settings.cluster.unwrap().name.to_string(), "deblox");
        assert!(settings.ignored.is_empty(), "{:?}", settings.ignored);
    }

    #[test]
    fn later_flags_win_and_without_cluster_it_is_a_cluster_of_one() {
        let folder = Folder::with(&[("conf.json", CONF)]);
        let mut arguments = folder.arguments(&["--docker", "unix:///run/d.sock", "--rest-service-port=8081"]);
        arguments.cluster = false;
        let Resolved { settings, .. } = settings(&arguments).unwrap();
        assert_eq!(settings.docker.address.to_string(), "unix:///run/d.sock");
        assert_eq!((settings.dockermod.rest_port, settings.cluster), (Some(8081), None));
    }

    #[test]
    fn hazelcasts_file_says_who_to_join_and_what_the_cluster_is_called() {
        let xml = "<hazelcast><group><name>dev</name><password>secret</password></group><network><join>\
                   <multicast enabled=\"false\"/><tcp-ip enabled=\"true\"><hostname>node1:5701</hostname></tcp-ip>\
                   </join></network></hazelcast>";
        let folder = Folder::with(&[
            ("conf.json", "{\"color\": 1, \"services\": [\"a.Other\"]}"),
            ("cluster.xml", xml),
        ]);
        let mut arguments = folder.arguments(&[]);
        arguments.cluster_host = Some("myhostname".to_owned());
        let Resolved { settings, .. } = settings(&arguments).unwrap();
        let cluster = settings.cluster.unwrap();
        assert_eq!((cluster.name.to_string(), cluster.multicast), ("dev".to_owned(), false));
        assert_eq!(cluster.join.iter().map(ToString::to_string).collect::<Vec<_>>(), ["node1:7052"]);
        assert_eq!(cluster.advertise.unwrap().to_string(), "myhostname");
        assert_eq!(settings.dockermod.rest_port, None, "services names no HttpService");
        let ignored: Vec<String> = settings.ignored.iter().map(ToString::to_string).collect();
        assert_eq!(ignored.len(), 2, "{ignored:?}");
        assert!(ignored[0].ends_with("conf.json: without effect: color, services: a.Other"), "{ignored:?}");
        assert!(ignored[1].ends_with("cluster.xml: without effect: group/password"), "{ignored:?}");
    }

    #[test]
    fn the_file_of_a_cluster_is_named_or_beside_the_other_or_vertxs() {
        let folder = Folder::with(&[("conf.json", "{}")]);
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("conf")).unwrap();
        let vertx = home.path().join("conf/cluster.xml");
        std::fs::write(&vertx, "").unwrap();
        let mut arguments = folder.arguments(&[]);
        let found = |arguments: &Dockermod| cluster_xml(arguments, Some(home.path()));
        assert_eq!(found(&arguments), Some(vertx));
        let beside = folder.0.path().join("cluster.xml");
        std::fs::write(&beside, "").unwrap();
        assert_eq!(found(&arguments), Some(beside));
        arguments.cluster_xml = Some("/named.xml".into());
        assert_eq!(found(&arguments), Some("/named.xml".into()));
    }
}
