//! Standard output and error that are closed or full.

use longshore_testkit::TestResult;

use crate::agent::Asked;
use crate::longshore::{Longshore, closed, full};

#[test]
fn a_reader_that_has_gone_is_no_failure() -> TestResult {
    for arguments in ["--help", "completions bash", "--version"] {
        let ran = Longshore::new(arguments).stdout(closed()).run().code(0);
        assert_eq!(ran.stderr(), "", "{arguments}");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_no_failure() -> TestResult {
    let asked = Asked::start(&[]).await?;
    for arguments in ["problems", "routes --json", "status", "problem ls -q"] {
        let ran = asked.ask(arguments).stdout(closed()).run();
        assert_eq!(ran.stderr(), "", "{arguments}");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_that_cannot_be_written_is_a_failure_that_is_told() -> TestResult {
    let asked = Asked::start(&["--dns", "127.0.0.1:0"]).await?;
    for arguments in ["routes", "problems --json", "containers", "names --json"] {
        let ran = asked.ask(arguments).stdout(full()).run();
        ran.code(1).complains("cannot write to standard output: No space left on device");
    }
    for arguments in ["--help", "completions zsh"] {
        let ran = Longshore::new(arguments).stdout(full()).run();
        ran.code(1).complains("cannot write to standard output");
    }
    Ok(())
}

#[test]
fn a_failure_that_cannot_be_told_keeps_its_exit_code() -> TestResult {
    Longshore::new("routes --agent 127.0.0.1:1").stderr(full()).run().code(3);
    Longshore::new("routes --agent 127.0.0.1:1").stderr(closed()).run().code(3).ok()
}
