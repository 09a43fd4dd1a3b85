use super::*;

fn parsed(line: &str) -> String {
    let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    match parse(&arguments).unwrap() {
        Command::Short(short) => format!("{:?}", short.command()),
        command => format!("{command:?}"),
    }
}

#[test]
fn the_arguments_do_not_contradict_themselves() {
    command().debug_assert();
}

#[test]
fn every_command_has_an_example() {
    fn look(command: &clap::Command) {
        for sub in command.get_subcommands() {
            let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(sub.has_subcommands() || help.contains("Example"), "{}", sub.get_name());
            look(sub);
        }
    }
    look(&command());
}

#[test]
fn a_short_form_is_the_command_that_it_stands_for() {
    for (short, whole) in [
        ("routes --json", "route ls --json"),
        ("containers -q", "container ls -q"),
        ("ps -q", "container ls -q"),
        ("hosts", "host ls"),
        ("logs -f a", "container logs --follow a"),
        ("handlers", "handler ls"),
        ("handlers failed", "handler failures"),
        ("handlers replay a:1", "handler replay a:1"),
        ("handlers forget all", "handler forget all"),
        ("handlers test a --event none", "handler test a --event none"),
        ("names", "name ls"),
        ("problems", "problem ls"),
        ("events -f", "event ls --follow"),
        ("explain route a.example/b", "route explain a.example/b"),
        ("balancer -1", "compat balancer -1"),
        ("glue -w", "compat glue -w"),
        ("podder -q", "compat podder -q"),
        ("dockermod -conf a -node b", "compat dockermod --conf a -- --node b"),
    ] {
        assert_eq!(parsed(&format!("longshore {short}")), parsed(&format!("longshore {whole}")));
    }
}

#[test]
fn each_flag_of_the_agent_stands_under_its_own_heading() {
    let run = command().find_subcommand("run").unwrap().clone();
    let heading = |flag: &str| {
        let flag = run.get_arguments().find(|arg| arg.get_long() == Some(flag)).expect("a flag");
        flag.get_help_heading().unwrap_or("Options").to_owned()
    };
    for (flag, under) in [
        ("config", "Options"),
        ("once", "Options"),
        ("dry-run", "Options"),
        ("docker", "Docker"),
        ("listen", "API"),
        ("container-templates", "DockerMod's API"),
        ("balancer", "Balancer"),
        ("haproxy-config", "HAProxy"),
        ("script-paths", "Handlers"),
        ("sidecars", "Sidecars"),
        ("publish-etcd", "Publishing to etcd"),
        ("dns", "DNS"),
        ("log", "Log"),
        ("log-format", "Log"),
    ] {
        assert_eq!(heading(flag), under, "--{flag}");
    }
}

#[test]
fn the_help_shows_one_form_of_each_command() {
    let help = command().render_help().to_string();
    let listed = |name: &str| help.lines().any(|line| line.trim_start().starts_with(&format!("{name} ")));
    for shown in ["run", "status", "route", "host", "container", "image", "handler", "problem", "compat"] {
        assert!(listed(shown), "{shown} is not in\n{help}");
    }
    for hidden in ["routes ", "podder "] {
        let commands = help.split("Short forms").next().unwrap_or_default();
        assert!(!commands.contains(hidden), "{hidden} is in\n{commands}");
    }
}
