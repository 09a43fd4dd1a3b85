//! `longshore glue`, also called `docker-glue`: the handlers of INI files, with the old tool's flags. Routes
//! are carried only if a handler requests docker-balancer's job.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use longshore_daemon::AgentError;
use longshore_daemon::config::{BalancerSettings, DockerSettings, EngineSettings, HandlerSettings, Settings};
use longshore_daemon::handlers::{balance_job, follow_balance_job};
use longshore_model::BalanceJob;

use crate::cli::Glue;
use crate::flags::{LogFormat, folders};
use crate::legacy::program_folder;
use crate::{legacy, log, run};

/// Where docker-glue looked for INI files, relative to the program.
const HANDLER_PATHS: [&str; 4] =
    ["../etc/docker-glue.d", "../../etc/docker-glue.d", "/etc/docker-glue.d", "./docker-glue.d"];

/// Where docker-glue looked for scripts, relative to the program.
const SCRIPT_PATHS: [&str; 4] =
    ["../libexec/docker-glue", "../../libexec/docker-glue", "/usr/libexec/docker-glue", "./handler-scripts"];

pub(crate) async fn run(arguments: Glue, program: Option<&OsString>) -> anyhow::Result<ExitCode> {
    log::start("info", LogFormat::Text)?;
    let handlers = handlers(&arguments, &program_folder(program));
    let job = balance_job(&handlers);
    let whole = settings(&arguments, &handlers, job.as_ref());
    match begin(&arguments, whole, job.clone()).await {
        Err(error) if job.is_some() && is_of_engine(&error) => {
            // A handler that cannot work must not stop the others.
            tracing::error!("{error:#}; the other handlers run without it");
            let outcome = begin(&arguments, settings(&arguments, &handlers, None), job).await?;
            Ok(if arguments.once { ExitCode::FAILURE } else { outcome })
        }
        outcome => outcome,
    }
}

async fn begin(arguments: &Glue, settings: Settings, job: Option<BalanceJob>) -> anyhow::Result<ExitCode> {
    if arguments.once {
        return run::once(settings).await;
    }
    let (mut jobs, _following) = follow_balance_job(settings.handlers.clone());
    let outdated = async {
        if jobs.wait_for(|wanted| *wanted != job).await.is_err() {
            std::future::pending::<()>().await;
        }
        tracing::info!("the balancer handler changed: restarting with it");
    };
    let again = settings.clone();
    run::watch(settings, || Ok(again.clone().into()), outdated).await
}

fn is_of_engine(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<AgentError>(), Some(AgentError::Engine(_)))
}

fn settings(arguments: &Glue, handlers: &HandlerSettings, job: Option<&BalanceJob>) -> Settings {
    let engine = match job {
        Some(job) => EngineSettings::Haproxy(Box::new(legacy::haproxy(job))),
        None => EngineSettings::None,
    };
    let base = legacy::settings(arguments.docker_url.clone(), arguments.data_dir.clone());
    let include_env = job.is_some_and(|job| job.include_env);
    Settings {
        node: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        docker: DockerSettings { include_env, ..base.docker },
        balancer: BalancerSettings { engine, ..base.balancer },
        handlers: handlers.clone(),
        ..base
    }
}

/// Returns the folders from the flags, or else the default ones: relative to the program, and the last of them
/// in the current folder as well.
fn handlers(arguments: &Glue, program: &Path) -> HandlerSettings {
    let named = |flag: &str, usual: [&str; 4]| match folders(flag) {
        named if named.is_empty() => {
            let mut found: Vec<PathBuf> = usual.iter().map(|folder| plain(&program.join(folder))).collect();
            let here =
                usual.last().and_then(|folder| std::path::absolute(folder).ok()).map(|path| plain(&path));
            found.extend(here.filter(|here| !found.contains(here) && is_own(here)));
            found
        }
        named => named,
    };
    HandlerSettings {
        paths: named(&arguments.handler_paths, HANDLER_PATHS),
        script_paths: named(&arguments.script_paths, SCRIPT_PATHS),
        inline: Vec::new(),
    }
}

/// Returns whether an implicitly found folder may decide what runs: not if another user created it, or can put
/// files into it.
fn is_own(folder: &Path) -> bool {
    let Ok(about) = std::fs::metadata(folder) else { return false };
    let owners = [0, rustix::process::geteuid().as_raw()];
    let is_own = owners.contains(&about.uid()) && about.mode() & 0o002 == 0;
    if !is_own {
        let folder = folder.display();
        tracing::warn!(%folder, "ignored: another user can change its contents; name it with a flag to use it");
    }
    is_own
}

/// Removes `.` and `..` from a path, lexically: a path that does not exist yet has no links to follow.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    fn paths(program: &str, flags: &[&str]) -> HandlerSettings {
        let arguments = [&["docker-glue", "-1"], flags].concat();
        let command = Glue::augment_args(clap::Command::new("docker-glue"));
        let glue = Glue::from_arg_matches(&command.get_matches_from(arguments)).unwrap();
        handlers(&glue, &program_folder(Some(&program.into())))
    }

    #[test]
    fn folders_are_looked_for_where_docker_glue_did() {
        let found = paths("/opt/glue/bin/docker-glue", &[]);
        let shown = |paths: &[PathBuf]| paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            shown(&found.paths),
            [
                "/opt/glue/etc/docker-glue.d",
                "/opt/etc/docker-glue.d",
                "/etc/docker-glue.d",
                "/opt/glue/bin/docker-glue.d"
            ]
        );
        assert_eq!(
            shown(&found.script_paths),
            [
                "/opt/glue/libexec/docker-glue",
                "/opt/libexec/docker-glue",
                "/usr/libexec/docker-glue",
                "/opt/glue/bin/handler-scripts"
            ]
        );
        let here = std::env::current_dir().unwrap();
        assert_eq!(paths("./docker-glue", &[]).paths[3], here.join("docker-glue.d"));
    }

    #[test]
    fn the_current_folder_is_looked_in_unless_others_may_write_there() {
        let folder = tempfile::tempdir().unwrap();
        let (own, others) = (folder.path().join("own"), folder.path().join("others"));
        std::fs::create_dir(&own).unwrap();
        std::fs::create_dir(&others).unwrap();
        std::fs::set_permissions(&others, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(is_own(&own) && !is_own(&others) && !is_own(&folder.path().join("absent")));
    }

    #[test]
    fn folders_that_are_named_take_the_place_of_the_usual_ones() {
        let found = paths("/x/docker-glue", &["--handler-paths", "/a:b", "--script-paths", "/c"]);
        assert_eq!(found.paths, [PathBuf::from("/a"), "b".into()]);
        assert_eq!(found.script_paths, [PathBuf::from("/c")]);
    }
}
