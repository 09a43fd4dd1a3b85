//! What a running agent answers, and how it is printed.

use longshore_testkit::TestResult;

use crate::agent::Asked;
use crate::longshore::Longshore;

#[test]
fn an_agent_that_does_not_answer_is_named_with_the_cause_in_plain_words() -> TestResult {
    let ran = Longshore::new("routes --agent 127.0.0.1:1").run().code(3);
    ran.complains("no agent answers at 127.0.0.1:1: connection refused")
        .complains("start it with `longshore run`, or name another one with --agent")
        .never_complains("client error")
        .never_complains("os error")
        .ok()
}

#[tokio::test]
async fn a_token_that_is_wanted_is_asked_for_by_its_flag() -> TestResult {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir()?;
    let (token, other) = (dir.path().join("token"), dir.path().join("other"));
    std::fs::write(&token, "0123456789abcdef-secret\n")?;
    std::fs::write(&other, "another-token-altogether\n")?;
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600))?;
    let path = token.to_string_lossy().into_owned();
    let asked = Asked::start(&["--token-file", &path]).await?;
    let none = asked.ask("routes").run().code(1);
    none.complains("requires a token").complains("--token-file FILE, or LONGSHORE_TOKEN_FILE");
    asked.ask("routes").arg("--token-file").arg(other).run().code(1).complains("requires another token");
    asked.ask("routes").env("LONGSHORE_TOKEN_FILE", &token).run().code(0);
    let settings = format!("listen = {:?}\ntoken-file = {path:?}\n", asked.address);
    Longshore::new("routes").settings(&settings).run().code(0).ok()
}

#[tokio::test]
async fn a_request_that_is_none_is_refused_with_what_is_expected() -> TestResult {
    let asked = Asked::start(&[]).await?;
    let wrong = asked.ask("route explain").arg("a b").run().code(1);
    wrong.complains("invalid request \"a b\": expected HOST/PATH or a URL").ok()
}

#[tokio::test]
async fn each_noun_lists_in_both_forms() -> TestResult {
    let asked = Asked::start(&["--dns", "127.0.0.1:0"]).await?;
    for (whole, short, heading) in [
        ("route ls", "routes", "FRONTEND"),
        ("container ls", "containers", "CONTAINER ID"),
        ("container ls", "ps", "CONTAINER ID"),
        ("host ls", "hosts", "NAME"),
        ("problem ls", "problems", "SUBJECT"),
        ("name ls", "names", "NAME"),
    ] {
        let shown = asked.ask(whole).run().code(0).prints(heading).stdout();
        assert_eq!(asked.ask(short).run().code(0).stdout(), shown, "{short}");
        let json = asked.ask(whole).arg("--json").run().code(0).stdout();
        assert!(serde_json::from_str::<serde_json::Value>(&json)?.is_array(), "{whole}: {json}");
        assert_eq!(asked.ask(short).arg("--format=json").run().code(0).stdout(), json, "{short}");
    }
    Ok(())
}

#[tokio::test]
async fn a_list_is_printed_by_name_or_by_a_template() -> TestResult {
    let asked = Asked::start(&[]).await?;
    let quiet = asked.ask("problem ls -q").run().code(0).stdout();
    assert_eq!(quiet, "Docker at unix:///nonexistent/docker.sock\n");
    let by_template = asked.ask("problems --format").arg("{{ subject }}\\t{{ key is none }}").run().code(0);
    assert_eq!(by_template.stdout(), "Docker at unix:///nonexistent/docker.sock\tTrue\n");
    let misspelt = asked.ask("problems --format").arg("{{ subjetc }}").run().code(1);
    misspelt.complains("the fields are container, hint, key, message, subject");
    let dockers = asked.ask("problems --format").arg("{{.Subject}}").run().code(2);
    dockers.complains("fields are written without a dot");
    asked.ask("routes -q --json").run().code(2).ok()
}

#[tokio::test]
async fn the_status_says_why_the_agent_is_not_ready() -> TestResult {
    let asked = Asked::start(&[]).await?;
    let status = asked.ask("status").run().code(1);
    let status =
        status.prints("not ready: Docker is not responding").prints("unix:///nonexistent/docker.sock");
    let status = status.prints("built-in").prints("1 (see `longshore problem ls`)").prints("FOLLOWER");
    assert!(!status.stdout().contains('\u{1b}'), "no colours in a pipe");
    let json = asked.ask("status --json").run().code(1).stdout();
    let json: serde_json::Value = serde_json::from_str(&json)?;
    assert!(json["docker"]["error"].is_string() && json["followers"].is_array(), "{json}");
    Ok(())
}

#[tokio::test]
async fn no_container_is_called_missing_before_any_was_listed() -> TestResult {
    let asked = Asked::start(&[]).await?;
    for command in ["container inspect web", "container stop web", "logs web", "container exec web true"] {
        let ran = asked.ask(command).run().code(1);
        ran.complains("Docker's containers have not been listed yet").never_complains("no such container");
    }
    Ok(())
}
