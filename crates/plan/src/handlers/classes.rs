use std::collections::BTreeMap;
use std::path::Path;

use longshore_model::{BalanceJob, Job};

use super::definition::{Definition, FoundScript, Value};
use super::follower::FollowerClass;
use super::reader::{Reader, nearest, shown};
use super::url::check_url;

/// Our own names of the classes that are not followers.
const OTHERS: [&str; 4] = ["script", "plugin", "webhook", "balancer"];

/// The classes available to a handler's file.
pub(super) struct Classes<'a> {
    pub(super) followers: &'a [&'a FollowerClass],
}

impl Classes<'_> {
    /// Returns the handler's job; `None` if it cannot be determined, with the problem noted.
    pub(super) fn job(&self, reader: &mut Reader<'_>, script: &dyn Fn(&str) -> FoundScript) -> Option<Job> {
        let Some(setting) = reader.head("class").or_else(|| reader.head("kind")) else {
            let hint = format!("one of {}, or Docker Glue's name of a class", self.names().join(", "));
            reader.wrong(None, "class", "missing: the handler does not run".to_owned(), Some(hint));
            return None;
        };
        let class = reader.one("class", setting)?.trim();
        match class {
            "script" => self.script_job(reader, script, false),
            // Docker Glue ignored the exit status, and scripts written for it exit with any.
            "DockerGlue.handlers.exec.ScriptHandler" => self.script_job(reader, script, true),
            "plugin" => Some(Job::Plugin { command: command(reader)? }),
            "webhook" => webhook(reader),
            "balancer" | "DockerGlue.handlers.lb.HAProxyHandler" => Some(Job::Balance(balancer(reader))),
            other => match self.followers.iter().find(|follower| follower.names.contains(&other)) {
                Some(follower) => (follower.parse)(reader).map(Job::Follow),
                None if is_dotted(other) => python(reader, other),
                None => {
                    let names = self.names();
                    let hint =
                        nearest(other, &names).or_else(|| Some(format!("one of {}", names.join(", "))));
                    reader.wrong(setting.line, "class", format!("unknown class {}", shown(other)), hint);
                    None
                }
            },
        }
    }

    /// Returns the handler's own options, except those that may hold a password.
    pub(super) fn params(&self, definition: &Definition, job: &Job) -> BTreeMap<String, String> {
        let class = self.followers.iter().find(|class| class.name() == job.word());
        let secrets = class.map_or([].as_slice(), |class| class.secrets);
        let params = definition.params.iter().filter(|(key, _)| !secrets.contains(&key.as_str()));
        params.map(|(key, setting)| (key.clone(), setting.value.joined())).collect()
    }

    fn names(&self) -> Vec<&'static str> {
        OTHERS.into_iter().chain(self.followers.iter().map(|class| class.name())).collect()
    }

    fn script_job(
        &self,
        reader: &mut Reader<'_>,
        find: &dyn Fn(&str) -> FoundScript,
        ignore_status: bool,
    ) -> Option<Job> {
        let name = reader.needed("script")?;
        let line = reader.param("script").and_then(|setting| setting.line);
        match find(name) {
            FoundScript::At(program) => {
                let ini = reader.definition.is_ini.then(|| reader.definition.file.clone());
                Some(Job::Script { program, ini, ignore_status })
            }
            FoundScript::NotExecutable(path) => {
                let message = format!("{} is not executable", shown(&path.to_string_lossy()));
                reader.wrong(line, "script", message, Some("chmod +x".to_owned()));
                None
            }
            FoundScript::Unanswered(folder) => {
                let message =
                    format!("the file system of {} does not answer", shown(&folder.to_string_lossy()));
                reader.wrong(line, "script", message, Some("retrying; check the mount".to_owned()));
                None
            }
            FoundScript::Nowhere => {
                let file_name =
                    Path::new(name).file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if let Some(class) = self.followers.iter().find(|class| class.scripts.contains(&file_name)) {
                    return (class.parse)(reader).map(Job::Follow);
                }
                let hint = if Path::new(name).is_absolute() {
                    "correct the path, or put the script there".to_owned()
                } else {
                    "put it into a folder of --script-paths, or give its absolute path".to_owned()
                };
                reader.wrong(line, "script", format!("no such script: {}", shown(name)), Some(hint));
                None
            }
        }
    }
}

/// Reads docker-balancer's flags.
fn balancer(reader: &mut Reader<'_>) -> BalanceJob {
    let include_env = reader.param("include-env");
    BalanceJob {
        template_dir: reader.text("template-dir").unwrap_or_default().to_owned(),
        template_file: reader.text("template-file").map(str::to_owned),
        config_file: reader.file("config-file"),
        rc: reader.file("rc"),
        socket: reader.file("socket"),
        reload: reader.text("reload").map(str::to_owned),
        include_env: include_env.is_some_and(|setting| reader.truth("include-env", setting, false)),
    }
}

/// Returns a program and its arguments.
fn command(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    if !matches!(reader.param("command").map(|setting| &setting.value), Some(Value::Many(_))) {
        reader.needed("command")?;
    }
    let words = reader.words("command")?;
    if words.first().is_none_or(|program| program.is_empty()) {
        let line = reader.param("command").and_then(|setting| setting.line);
        reader.wrong(line, "command", "the command is empty".to_owned(), None);
        return None;
    }
    Some(words)
}

fn webhook(reader: &mut Reader<'_>) -> Option<Job> {
    let url = reader.needed("url")?;
    let line = reader.param("url").and_then(|setting| setting.line);
    check_url(reader, "url", line, url, "sign requests instead: secret-file");
    Some(Job::Webhook { url: url.to_owned(), secret_file: reader.file("secret-file") })
}

/// Returns a job that runs a Python class through our package.
fn python(reader: &mut Reader<'_>, class: &str) -> Option<Job> {
    let definition = reader.definition;
    if !definition.is_ini {
        let message = format!("{} is a Python class, which reads its params from an INI file", shown(class));
        let hint = Some("define it in a file of --handler-paths".to_owned());
        reader.wrong(None, "class", message, hint);
        return None;
    }
    let interpreter = reader.text("python").unwrap_or("python3").to_owned();
    let (Some(file), Some(folder)) =
        (definition.file.to_str(), definition.file.parent().and_then(Path::to_str))
    else {
        reader.wrong(None, "class", "the file's path is not UTF-8".to_owned(), None);
        return None;
    };
    let rest = ["-m", "longshore_plugin.glue", "--ini", file, "--path", folder];
    let scripts = definition.script_paths.iter().filter_map(|folder| folder.to_str());
    let scripts = scripts.flat_map(|folder| ["--script-path", folder]);
    let command = rest.into_iter().chain(scripts).map(str::to_owned);
    let command = [interpreter].into_iter().chain(command).collect();
    Some(Job::Plugin { command })
}

/// Returns whether the text is a dotted Python class name: `package.module.Class`.
fn is_dotted(text: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    text.contains('.') && text.split('.').all(is_name)
}
