//! A machine without a list of trusted authorities, as in an image from scratch.

use std::process::Output;

use longshore_testkit::{Etcd, Host, Lab, TestResult};

/// Runs a single pass with these arguments, on a machine whose `/etc/ssl` is empty.
async fn without_authorities(host: &Host, arguments: &[&str]) -> std::io::Result<Output> {
    let mut command = host.command("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs none /etc/ssl && exec \"$0\" \"$@\""]);
    command.args([env!("CARGO_BIN_EXE_longshore"), "run", "--once", "--balancer", "none", "--docker"]);
    command.arg(host.docker_host()).args(arguments);
    // A list named by the environment would be used.
    command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR").output().await
}

/// Returns whether the certificate was checked. Mozilla knows no authority for that of the lab's etcd: the
/// rejection shows that there is a list, and that the connection got as far as checking it.
fn is_checked(output: &Output) -> bool {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(!text.contains("no native"), "{text}");
    text.contains("UnknownIssuer")
}

#[tokio::test]
async fn etcds_certificate_is_checked_against_mozillas_list_where_the_machine_has_none() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let _etcd = Etcd::on(host).tls().start().await?;
    let data = tempfile::tempdir()?;
    let data = data.path().display().to_string();
    let arguments = ["--data-dir", &data, "--publish-etcd", "https://127.0.0.1:2379"];
    let output = without_authorities(host, &arguments).await?;
    assert!(is_checked(&output), "{output:?}");
    Ok(())
}

#[tokio::test]
async fn a_webhooks_certificate_is_checked_against_mozillas_list_where_the_machine_has_none() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let _etcd = Etcd::on(host).tls().start().await?;
    let folder = crate::handlers::Folder::new()?;
    let text = "[handler]\nclass=webhook\nevents=none\nretries=0\n\n[params]\nurl=https://127.0.0.1:2379/\n";
    folder.ini("hook", text)?;
    let (data, paths) = (tempfile::tempdir()?, folder.path().display().to_string());
    let data = data.path().display().to_string();
    let output = without_authorities(host, &["--data-dir", &data, "--handler-paths", &paths]).await?;
    assert!(is_checked(&output), "{output:?}");
    Ok(())
}
