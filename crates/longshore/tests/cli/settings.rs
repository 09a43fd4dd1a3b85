//! Settings: flags, environment, file.

use std::os::unix::net::UnixListener;

use longshore_testkit::TestResult;

use crate::agent::Asked;
use crate::longshore::Longshore;

/// A pass that ends at once, as there is no Docker; the settings are read before.
const PASS: &str = "run --once --docker unix:///nonexistent/docker.sock --data-dir data";

#[test]
fn a_log_level_that_is_none_is_refused_with_those_that_are() -> TestResult {
    let wrong = Longshore::new("run --log verbose").run();
    wrong
        .code(2)
        .complains("invalid value 'verbose' for '--log")
        .complains("error, warn, info, debug, trace")
        .ok()
}

#[test]
fn every_error_is_reported_at_once_with_its_place_and_what_is_expected() -> TestResult {
    let ran = Longshore::new("run --node bad_name!")
        .settings("balancer = \"nginx\"\nresync = \"soon\"\n")
        .env("LONGSHORE_WORKERS", "many")
        .run()
        .code(2);
    let ran = ran
        .complains("longshore.toml:1: balancer: invalid value \"nginx\": expected none, built-in or haproxy")
        .complains("longshore.toml:2: resync: invalid value \"soon\": expected a duration")
        .complains("LONGSHORE_WORKERS: invalid value \"many\": ");
    ran.never_complains("--balancer").never_complains("--resync").ok()
}

#[test]
fn what_is_wrong_with_settings_together_is_told_by_their_keys_and_places() -> TestResult {
    let ran = Longshore::new(PASS)
        .settings("publish-user = \"me\"\npublish-cert = \"/x\"\nresync = \"1ms\"\n")
        .env("LONGSHORE_LISTEN", "0.0.0.0:7051")
        .arg("--check-interval=1ms")
        .run()
        .code(2);
    ran.complains("longshore.toml:1: publish-user: publish-password-file is missing")
        .complains("longshore.toml:2: publish-cert: publish-key is missing")
        .complains("longshore.toml:3: resync: 1ms is too short: expected at least 100ms")
        .complains("LONGSHORE_LISTEN: 0.0.0.0:7051 is reachable by others: set token-file too")
        .complains("--check-interval: 1ms is too short")
        .ok()
}

#[test]
fn a_flag_goes_before_the_environment_which_goes_before_the_file() -> TestResult {
    let with = |flag: Option<&str>, variable: Option<&str>| {
        let run = Longshore::new("run --once --data-dir data").settings("docker = \"tcp://127.0.0.1:1\"\n");
        let run = variable.into_iter().fold(run, |run, value| run.env("LONGSHORE_DOCKER", value));
        flag.into_iter().fold(run, |run, value| run.arg("--docker").arg(value)).run().code(1)
    };
    with(None, None).complains("tcp://127.0.0.1:1");
    with(None, Some("tcp://127.0.0.1:2")).complains("tcp://127.0.0.1:2");
    with(Some("tcp://127.0.0.1:3"), Some("tcp://127.0.0.1:2")).complains("tcp://127.0.0.1:3").ok()
}

#[tokio::test]
async fn a_command_asks_the_agent_that_the_settings_describe() -> TestResult {
    let asked = Asked::start(&[]).await?;
    let listen = format!("listen = {:?}\n", asked.address);
    Longshore::new("problems").settings(&listen).run().code(0).prints("SUBJECT");
    Longshore::new("problems").env("LONGSHORE_LISTEN", &asked.address).run().code(0).prints("SUBJECT");
    let flag = Longshore::new("problems").settings(&listen).arg("--agent=127.0.0.1:1").run();
    flag.code(3).complains("127.0.0.1:1").ok()
}

#[test]
fn config_check_says_what_the_agent_would_not_take() -> TestResult {
    Longshore::new("config check").settings("node = \"a\"\n").run().code(0).prints("longshore.toml: ok");
    let unknown = Longshore::new("config check").settings("nodes = \"a\"\n").run().code(0);
    unknown.prints("longshore.toml:1: unknown setting \"nodes\" is ignored (did you mean \"node\"?)");
    Longshore::new("config check")
        .settings("workers = 0\n")
        .run()
        .code(2)
        .complains("longshore.toml:1: workers");
    let handler = "[[handler]]\nname = \"greet\"\nclass = \"script\"\nevents = \"start\"\nparams = { script = \"/nowhere/greet.sh\" }\n";
    Longshore::new("config check").settings(handler).run().code(2).prints("/nowhere/greet.sh");
    let named = Longshore::new("config check");
    let path = named.write("other.toml", "resync = 1\n");
    named.arg(path).run().code(2).complains("other.toml:1: resync").ok()
}

#[test]
fn a_docker_that_may_not_be_asked_is_told_from_one_that_is_down() -> TestResult {
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let path = dir.path().join("docker.sock");
    let _docker = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let run = |path: &std::path::Path| {
        Longshore::new("run --once").arg("--docker").arg(format!("unix://{}", path.display()))
    };
    let data = dir.path().join("stranger");
    std::fs::create_dir(&data)?;
    std::os::unix::fs::chown(&data, Some(65534), None)?;
    let stranger = run(&path).arg("--data-dir").arg(data).user(65534).run();
    let stranger = stranger.code(1);
    stranger
        .complains("is not responding: cannot connect: Permission denied")
        .complains("(run as root, or add this user to the group docker)")
        .never_complains("legacy");
    let away =
        run(&dir.path().join("none.sock")).arg("--data-dir").arg(dir.path().join("data")).run().code(1);
    away.complains("(start Docker, or set docker to its address)").never_complains("legacy").ok()
}
