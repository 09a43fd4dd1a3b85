use std::collections::BTreeMap;
use std::path::Path;

use longshore_model::{BalanceJob, Job, OpenVswitchJob};

use super::definition::{Definition, FoundScript, Value};
use super::publisher;
use super::reader::{Reader, nearest, shown};
use super::url::check_url;

/// Docker Glue's script for Open vSwitch, which the agent does without the script.
const OVS_SCRIPT: &str = "ovs-handler.sh";

/// Our own names of classes.
const CLASSES: [&str; 6] = ["script", "plugin", "webhook", "balancer", "publisher", "openvswitch"];

/// What the handler does; `None` where that is not plain, with the problem told.
pub(super) fn job(reader: &mut Reader<'_>, script: &dyn Fn(&str) -> FoundScript) -> Option<Job> {
    let Some(said) = reader.head("class").or_else(|| reader.head("kind")) else {
        let hint = format!("one of {}, or Docker Glue's name of a class", CLASSES.join(", "));
        reader.wrong(None, "class", "it is missing; there is no such handler".to_owned(), Some(hint));
        return None;
    };
    let class = reader.one("class", said)?.trim();
    match class {
        "script" => script_job(reader, script, false),
        // Docker Glue did not look at the exit status, and scripts written for it end with any.
        "DockerGlue.handlers.exec.ScriptHandler" => script_job(reader, script, true),
        "plugin" => Some(Job::Plugin { command: command(reader)? }),
        "webhook" => webhook(reader),
        "balancer" | "DockerGlue.handlers.lb.HAProxyHandler" => Some(Job::Balance(balancer(reader))),
        "publisher"
        | "DockerGlue.handlers.publishers.distconfig.Publisher"
        | "distconfig.backends.etcd.EtcdBackend" => publisher::job(reader).map(Job::Publish),
        "openvswitch" => Some(Job::OpenVswitch(openvswitch(reader)?)),
        other if is_dotted(other) => python(reader, other),
        other => {
            let message = format!("there is no class {}", shown(other));
            let hint = nearest(other, &CLASSES).or_else(|| Some(format!("one of {}", CLASSES.join(", "))));
            reader.wrong(said.line, "class", message, hint);
            None
        }
    }
}

/// The handler's own options. What may hold a password stays behind.
pub(super) fn params(definition: &Definition, job: &Job) -> BTreeMap<String, String> {
    let kept = |key: &str| !(matches!(job, Job::Publish(_)) && key == "clientparams");
    let params = definition.params.iter().filter(|(key, _)| kept(key));
    params.map(|(key, said)| (key.clone(), said.value.joined())).collect()
}

/// docker-balancer's flags.
fn balancer(reader: &mut Reader<'_>) -> BalanceJob {
    let include_env = reader.param("include-env");
    BalanceJob {
        template_dir: reader.text("template-dir").unwrap_or_default().to_owned(),
        template_file: reader.text("template-file").map(str::to_owned),
        config_file: reader.file("config-file"),
        rc: reader.file("rc"),
        socket: reader.file("socket"),
        reload: reader.text("reload").map(str::to_owned),
        include_env: include_env.is_some_and(|said| reader.truth("include-env", said, false)),
    }
}

fn script_job(
    reader: &mut Reader<'_>,
    find: &dyn Fn(&str) -> FoundScript,
    ignore_status: bool,
) -> Option<Job> {
    let name = reader.needed("script")?;
    let line = reader.param("script").and_then(|said| said.line);
    match find(name) {
        FoundScript::At(program) => {
            let ini = reader.definition.is_ini.then(|| reader.definition.file.clone());
            Some(Job::Script { program, ini, ignore_status })
        }
        FoundScript::NotExecutable(path) => {
            let message = format!("{} cannot be executed", shown(&path.to_string_lossy()));
            reader.wrong(line, "script", message, Some("chmod +x".to_owned()));
            None
        }
        FoundScript::Nowhere if Path::new(name).file_name().is_some_and(|name| name == OVS_SCRIPT) => {
            Some(Job::OpenVswitch(openvswitch(reader)?))
        }
        FoundScript::Nowhere => {
            let hint = if Path::new(name).is_absolute() {
                "write where it is".to_owned()
            } else {
                "put it into a folder of --script-paths, or write its absolute path".to_owned()
            };
            reader.wrong(line, "script", format!("there is no script {}", shown(name)), Some(hint));
            None
        }
    }
}

/// A program and its arguments: a list as it is, a text as a shell would split it.
fn command(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let words = match reader.param("command").map(|said| (&said.value, said.line)) {
        Some((Value::Many(words), _)) => words.clone(),
        _ => {
            let text = reader.needed("command")?;
            words(reader, "command", text)?
        }
    };
    if words.first().is_none_or(|program| program.is_empty()) {
        let line = reader.param("command").and_then(|said| said.line);
        reader.wrong(line, "command", "it names no program".to_owned(), None);
        return None;
    }
    Some(words)
}

fn words(reader: &mut Reader<'_>, key: &str, text: &str) -> Option<Vec<String>> {
    let words = shlex::split(text);
    if words.is_none() {
        let line = reader.param(key).and_then(|said| said.line);
        reader.wrong(line, key, "a quote is not closed".to_owned(), None);
    }
    words
}

fn webhook(reader: &mut Reader<'_>) -> Option<Job> {
    let url = reader.needed("url")?;
    let line = reader.param("url").and_then(|said| said.line);
    check_url(reader, "url", line, url);
    Some(Job::Webhook { url: url.to_owned(), secret_file: reader.file("secret-file") })
}

fn openvswitch(reader: &mut Reader<'_>) -> Option<OpenVswitchJob> {
    let mut named = |short: &str, long: &str, usual: &str| {
        let text = reader.text(long).or_else(|| reader.text(short)).unwrap_or(usual);
        text.to_owned()
    };
    let bridge = named("bridge", "ovs-bridge", "br-int");
    let interface = named("interface", "ovs-interface", "eth0");
    let key = if reader.param("ovs-options").is_some() { "ovs-options" } else { "options" };
    let options = match reader.param(key).map(|said| &said.value) {
        Some(Value::Many(options)) => options.clone(),
        Some(Value::One(text)) => words(reader, key, text)?,
        None => Vec::new(),
    };
    Some(OpenVswitchJob { bridge, interface, options })
}

/// A Python class, run by our package.
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
        reader.wrong(None, "class", "the file's path is no UTF-8".to_owned(), None);
        return None;
    };
    let rest = ["-m", "longshore_plugin.glue", "--ini", file, "--path", folder];
    let scripts = definition.script_paths.iter().filter_map(|folder| folder.to_str());
    let scripts = scripts.flat_map(|folder| ["--script-path", folder]);
    let command = rest.into_iter().chain(scripts).map(str::to_owned);
    let command = [interpreter].into_iter().chain(command).collect();
    Some(Job::Plugin { command })
}

/// Whether it is how Python names a class in a module: `package.module.Class`.
fn is_dotted(text: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    text.contains('.') && text.split('.').all(is_name)
}
