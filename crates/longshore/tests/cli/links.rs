//! The program called by an old tool's name.

use longshore_testkit::TestResult;

use crate::longshore::Longshore;

#[test]
fn an_old_tools_name_shows_its_own_usage_and_its_version() -> TestResult {
    for link in ["docker-balancer", "docker-glue", "podder", "dockermod"] {
        let help = Longshore::new("-h").link(link).run().code(0).prints(&format!("Usage: {link} ["));
        let text = help.stdout();
        let usage = text.lines().find(|line| line.starts_with("Usage")).unwrap_or_default();
        assert!(!usage.contains("longshore"), "{usage}");
        Longshore::new("--version").link(link).run().code(0).prints(&format!("{link} 0."));
    }
    Ok(())
}

#[test]
fn an_old_tool_is_also_a_command() -> TestResult {
    for tool in ["balancer", "glue", "podder", "dockermod"] {
        let help = Longshore::new(&format!("compat {tool} --help")).run().code(0).stdout();
        let short = Longshore::new(&format!("{tool} --help")).run().code(0).stdout();
        let options = |help: &str| help.split("Options:").nth(1).map(str::to_owned);
        assert_eq!(options(&help), options(&short), "{tool}");
        assert!(options(&help).is_some(), "{help}");
    }
    Ok(())
}
