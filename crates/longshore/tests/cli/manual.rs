//! The manual pages.

use longshore_testkit::TestResult;

use crate::longshore::Longshore;

#[test]
fn every_manual_page_is_titled_by_the_whole_command() -> TestResult {
    let dir = tempfile::tempdir()?;
    Longshore::new("man").arg(dir.path()).run().code(0);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir.path().join("man1"))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path)?;
        let title = text.lines().find(|line| line.starts_with(".TH ")).unwrap_or_default().to_owned();
        assert!(title.starts_with(&format!(".TH {} 1 ", name.to_uppercase())), "{name}: {title}");
        assert!(text.contains(&format!("{} \\- ", name.replace('-', "\\-"))), "{name}");
        names.push(name);
    }
    for name in [
        "longshore",
        "longshore-run",
        "longshore-route-ls",
        "longshore-handler-test",
        "longshore-compat-glue",
    ] {
        assert!(names.iter().any(|found| found == name), "{name} is not in {names:?}");
    }
    Ok(())
}

#[test]
fn the_settings_file_and_the_labels_have_manual_pages() -> TestResult {
    let dir = tempfile::tempdir()?;
    Longshore::new("man").arg(dir.path()).run().code(0);
    let page = |name: &str| std::fs::read_to_string(dir.path().join(name));
    let settings = page("man5/longshore.toml.5")?;
    assert!(settings.contains(".TH LONGSHORE.TOML 5 "), "{settings}");
    assert!(settings.contains("\\fBcheck\\-interval\\fR"), "{settings}");
    let labels = page("man7/longshore-labels.7")?;
    assert!(labels.contains("\\fBlongshore.http.<port>.host\\fR"), "{labels}");
    Ok(())
}
