//! Reads a handler's settings for publishing to etcd, in our own keys or Docker Glue's.

use std::path::PathBuf;
use std::time::Duration;

use longshore_model::{FollowerJob, PublishJob};
use py_literal::Value as Literal;

use crate::handlers::FollowerClass;
use crate::handlers::reader::{Reader, nearest, shown};
use crate::handlers::url::check_url;

/// Publishes containers to etcd.
pub const CLASS: FollowerClass = FollowerClass {
    names: &[
        "publisher",
        "DockerGlue.handlers.publishers.distconfig.Publisher",
        "distconfig.backends.etcd.EtcdBackend",
    ],
    scripts: &[],
    secrets: &["clientparams"],
    parse: |reader| Some(FollowerJob::new(CLASS.name(), job(reader)?)),
};

/// How long keys outlive the agent by default.
const DEFAULT_LEASE: Duration = Duration::from_secs(15);

/// The maximum nesting of a Python literal. Reading the last member of each level costs twice its content, so
/// an unlimited depth would have unlimited cost.
const MAX_DEPTH: usize = 8;

/// The maximum length of a Python literal.
const MAX_LENGTH: usize = 16 * 1024;

/// Parameters of python-etcd's client that are converted.
const CLIENT_PARAMS: [&str; 7] = ["host", "port", "protocol", "username", "password", "ca_cert", "cert"];

/// Parameters of python-etcd's client that do not affect where etcd is.
const MEANINGLESS: [&str; 9] = [
    "version_prefix",
    "read_timeout",
    "allow_redirect",
    "allow_reconnect",
    "use_proxies",
    "expected_cluster_id",
    "per_host_pool_size",
    "lock_prefix",
    "srv_domain",
];

/// Reads where containers are published, from our own params or Docker Glue's.
fn job(reader: &mut Reader<'_>) -> Option<PublishJob> {
    if let Some(backend) = reader.text("class")
        && backend != "distconfig.backends.etcd.EtcdBackend"
    {
        let line = reader.param("class").and_then(|setting| setting.line);
        let message = format!("containers are published to etcd only, not by {}", shown(backend));
        let hint = Some("class=distconfig.backends.etcd.EtcdBackend, or endpoints".to_owned());
        reader.wrong(line, "class", message, hint);
        return None;
    }
    let old = match reader.text("clientparams") {
        Some(text) => client_params(reader, text)?,
        None => Client::default(),
    };
    let mut endpoints = reader.param("endpoints").map(|setting| setting.value.list()).unwrap_or_default();
    let line = reader.param("endpoints").and_then(|setting| setting.line);
    for endpoint in &endpoints {
        check_url(reader, "endpoints", line, endpoint, "set user and password-file instead");
    }
    if endpoints.is_empty() {
        endpoints = old.endpoints;
    }
    if endpoints.is_empty() {
        let hint = Some("endpoints=http://10.0.0.2:2379,http://10.0.0.3:2379".to_owned());
        reader.wrong(line, "endpoints", "missing: the publisher needs the address of etcd".to_owned(), hint);
        return None;
    }
    let lease = match reader.param("lease") {
        Some(setting) => reader.time("lease", setting, Duration::from_secs(2)),
        None => None,
    };
    let user = reader.text("user").map(str::to_owned).or(old.user);
    let password_file = reader.file("password-file");
    password(reader, user.is_some(), password_file.is_some(), old.has_password);
    let identity = match (reader.file("cert"), reader.file("key")) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => old.identity,
        _ => {
            reader.wrong(None, "cert", "set both a certificate and its key".to_owned(), None);
            None
        }
    };
    let env = reader.param("env").is_some_and(|setting| reader.truth("env", setting, false));
    Some(PublishJob {
        endpoints,
        prefix: prefix(reader, "prefix"),
        skydns: prefix(reader, "skydns"),
        env,
        lease: lease.unwrap_or(DEFAULT_LEASE),
        user,
        password_file,
        ca: reader.file("ca").or(old.ca),
        identity,
    })
}

fn prefix(reader: &mut Reader<'_>, key: &str) -> Option<String> {
    reader.text(key).map(|text| text.trim_end_matches('/').to_owned()).filter(|text| !text.is_empty())
}

/// Checks that a user has a password, in a file of its own.
fn password(reader: &mut Reader<'_>, has_user: bool, has_file: bool, in_literal: bool) {
    let hint = || Some("write it to a file of mode 600, and name the file with password-file".to_owned());
    if !has_file && (in_literal || reader.param("password").is_some()) {
        let key = if in_literal { "clientparams" } else { "password" };
        let line = reader.param(key).and_then(|setting| setting.line);
        reader.wrong(line, key, "a password is not accepted here".to_owned(), hint());
    } else if has_user != has_file {
        let key = if has_user { "user" } else { "password-file" };
        let line = reader.param(key).and_then(|setting| setting.line);
        let message = "set both a user and a file with its password".to_owned();
        reader.wrong(line, key, message, hint());
    }
}

/// The settings found in `clientParams`.
#[derive(Default)]
struct Client {
    endpoints: Vec<String>,
    user: Option<String>,
    has_password: bool,
    ca: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
}

/// Reads the arguments of python-etcd's client, a Python literal, as data. Problems never quote the text: it
/// may contain a password.
fn client_params(reader: &mut Reader<'_>, text: &str) -> Option<Client> {
    let line = reader.param("clientparams").and_then(|setting| setting.line);
    let mut wrong = |message: &str| {
        let hint = Some(r#"write {"host": (("10.0.0.2", 2379), ("10.0.0.3", 2379))}"#.to_owned());
        reader.wrong(line, "clientParams", message.to_owned(), hint);
    };
    let text = text.replace('\n', " ");
    if text.len() > MAX_LENGTH || depth(&text) > MAX_DEPTH {
        wrong("too long or too deeply nested");
        return None;
    }
    let Ok(Literal::Dict(pairs)) = text.trim().parse::<Literal>() else {
        wrong("not a Python dictionary of plain values");
        return None;
    };
    let get = |name: &str| {
        let found = pairs.iter().rev().find(|(key, _)| key.as_string().is_some_and(|key| key == name));
        found.map(|(_, value)| value).filter(|value| !value.is_none())
    };
    let port = match get("port").map(number) {
        None => 4001,
        Some(Some(port)) => port,
        Some(None) => {
            wrong("invalid port: expected 1 to 65535");
            return None;
        }
    };
    let protocol = match get("protocol").map(Literal::as_string) {
        None => "http",
        Some(Some(text)) if text == "http" || text == "https" => text,
        Some(_) => {
            wrong("invalid protocol: expected \"http\" or \"https\"");
            return None;
        }
    };
    let hosts = match get("host") {
        None => Some(vec![("127.0.0.1".to_owned(), port)]),
        Some(value) => hosts(value, port),
    };
    let Some(hosts) = hosts.filter(|all| !all.is_empty() && all.iter().all(|(host, _)| is_host(host))) else {
        wrong("invalid host: expected a name or a tuple of pairs of a name and a port");
        return None;
    };
    let endpoints = hosts.into_iter().map(|(host, port)| endpoint(protocol, &host, port)).collect();
    let text = |name: &str| get(name).and_then(Literal::as_string);
    let user = text("username").cloned();
    let has_password = get("password").is_some();
    let ca = text("ca_cert").map(|path| reader.beside(path));
    let identity = match get("cert") {
        None => None,
        // One file holds both the certificate and the key.
        Some(Literal::String(path)) => Some((reader.beside(path), reader.beside(path))),
        Some(Literal::Tuple(parts) | Literal::List(parts)) => match parts.as_slice() {
            [Literal::String(cert), Literal::String(key)] => Some((reader.beside(cert), reader.beside(key))),
            _ => None,
        },
        Some(_) => None,
    };
    if get("cert").is_some() && identity.is_none() {
        let message = "invalid cert in clientParams: expected a path or a pair of paths".to_owned();
        reader.wrong(line, "clientParams", message, None);
    }
    for (key, _) in &pairs {
        let name = key.as_string().map_or("", String::as_str);
        if !CLIENT_PARAMS.contains(&name) && !MEANINGLESS.contains(&name) {
            let message = format!("unknown member {}: ignored", shown(name));
            reader.remark(line, "clientParams", message, nearest(name, &CLIENT_PARAMS));
        }
    }
    Some(Client { endpoints, user, has_password, ca, identity })
}

fn endpoint(protocol: &str, host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("{protocol}://[{host}]:{port}")
    } else {
        format!("{protocol}://{host}:{port}")
    }
}

/// Returns whether the text can be a name or an address, without user and password.
fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b))
}

/// Returns the hosts: one, or a tuple of pairs of host and port.
fn hosts(value: &Literal, port: u16) -> Option<Vec<(String, u16)>> {
    let pairs = match value {
        Literal::String(host) => return Some(vec![(host.clone(), port)]),
        Literal::Tuple(pairs) | Literal::List(pairs) => pairs,
        _ => return None,
    };
    let pair = |value: &Literal| match value {
        Literal::Tuple(pair) | Literal::List(pair) => match pair.as_slice() {
            [Literal::String(host), port] => Some((host.clone(), number(port)?)),
            _ => None,
        },
        _ => None,
    };
    pairs.iter().map(pair).collect()
}

/// Returns a port number.
fn number(value: &Literal) -> Option<u16> {
    let digits = value.as_integer()?.to_string();
    digits.parse().ok().filter(|port| *port != 0)
}

/// Returns the nesting depth of brackets, ignoring those in strings.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quote) = (0_usize, 0, None);
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(_), '\\') => {
                characters.next();
            }
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '[' | '{') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    deepest
}
