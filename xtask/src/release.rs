//! Builds everything that a release ships, into `target/release-files`: see RELEASING.md.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use clap::Args;
use xtask::dist;
use xtask::steps::{self, read, step};
use xtask::workspace::{Metadata, root};

use crate::setup;
use crate::tools;

/// What to build.
#[derive(Debug, Args)]
pub(crate) struct Dist {
    /// The static binary alone, at target/dist-image/longshore.
    #[arg(long)]
    binary: bool,
    /// Neither the container image, for which a Docker has to answer.
    #[arg(long, conflicts_with = "binary")]
    no_image: bool,
}

/// Runs `cargo xtask dist`.
pub(crate) fn run(options: &Dist) -> anyhow::Result<()> {
    if options.binary {
        println!("{}", dist::binary()?.display());
        return Ok(());
    }
    ensure!(
        options.no_image || setup::docker_answers(),
        "no Docker answers to build the image with: start one, name its socket in DOCKER_HOST (unix://…), or give --no-image"
    );
    let binary = step("static binary", dist::binary)?;
    let release = Release::begin(binary)?;
    step("manual pages and completions", || release.documents())?;
    step("archive", || release.archive())?;
    step("Debian package", || release.debian_package())?;
    step("bill of materials", || release.bill_of_materials())?;
    if !options.no_image {
        step("container image", || release.image())?;
    }
    step("checksums", || release.checksums())?;
    println!("\n{} holds:", release.folder.display());
    for name in names(&release.folder)? {
        println!("  {name}");
    }
    Ok(())
}

struct Release {
    binary: PathBuf,
    /// The folder of all shipped files.
    folder: PathBuf,
    /// The folder of manual pages and completions, from which packages take them.
    documents: PathBuf,
    version: String,
    triple: String,
}

impl Release {
    fn begin(binary: PathBuf) -> anyhow::Result<Self> {
        let metadata = Metadata::read()?;
        // All packages of the workspace have one version.
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let said = read(Command::new(&binary).arg("--version"))?;
        ensure!(said.contains(&version), "the binary says it is {:?}, not {version}", said.trim());
        let folder = metadata.target_directory.join("release-files");
        // The Debian package's manifest expects them there.
        let documents = root().join("target/release-documents");
        for folder in [&folder, &documents] {
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
            fs::create_dir_all(folder)?;
        }
        Ok(Self { binary, folder, documents, version, triple: dist::triple()? })
    }

    /// Returns the name of a file for this version and this machine's target.
    fn name(&self, ending: &str) -> String {
        format!("longshore-{}-{}{ending}", self.version, self.triple)
    }

    fn documents(&self) -> anyhow::Result<()> {
        steps::run(Command::new(&self.binary).arg("man").arg(self.documents.join("man")))?;
        let completions = self.documents.join("completions");
        fs::create_dir_all(&completions)?;
        for (shell, file) in [("bash", "longshore.bash"), ("zsh", "_longshore"), ("fish", "longshore.fish")] {
            let text = read(Command::new(&self.binary).args(["completions", shell]))?;
            fs::write(completions.join(file), text)?;
        }
        Ok(())
    }

    /// Packs the binary, its documents, units and examples, for systems other than Debian.
    fn archive(&self) -> anyhow::Result<()> {
        let name = self.name("");
        let staging = self.documents.join(&name);
        fs::create_dir_all(&staging)?;
        fs::copy(&self.binary, staging.join("longshore"))?;
        for file in ["LICENSE", "README.md", "CHANGELOG.md"] {
            fs::copy(root().join(file), staging.join(file))?;
        }
        let copies = [
            (root().join("packaging"), "packaging"),
            (root().join("docs"), "docs"),
            (self.documents.join("man"), "man"),
            (self.documents.join("completions"), "completions"),
        ];
        for (from, to) in copies {
            steps::run(Command::new("cp").arg("-r").arg(from).arg(staging.join(to)))?;
        }
        let mut tar = Command::new("tar");
        tar.args(["--owner=0", "--group=0", "--numeric-owner", "--sort=name", "--auto-compress", "-C"]);
        tar.arg(&self.documents).arg("-cf").arg(self.folder.join(self.name(".tar.gz"))).arg(&name);
        steps::run(&mut tar)
    }

    fn debian_package(&self) -> anyhow::Result<()> {
        let mut deb = Command::new(tools::provide(&tools::CARGO_DEB)?);
        deb.args(["--package", "longshore", "--locked", "--no-build", "--no-strip", "--profile", "dist"]);
        deb.args(["--target", &self.triple, "--output"]).arg(&self.folder);
        steps::run(deb.current_dir(root()))
    }

    /// Writes the bill of materials of the binary, as CycloneDX. It contains no path of this machine.
    fn bill_of_materials(&self) -> anyhow::Result<()> {
        let mut sbom = Command::new(tools::provide(&tools::CARGO_SBOM)?);
        sbom.args(["--cargo-package", "longshore", "--output-format", "cyclone_dx_json_1_6"]);
        let text = read(sbom.current_dir(root()))?;
        for part in ["CycloneDX", "longshore", "tokio", "rustls"] {
            ensure!(text.contains(part), "the bill of materials does not name {part}");
        }
        ensure!(!text.contains("longshore-testkit"), "the bill of materials names what only tests need");
        let text = text.replace(&format!("{}/", root().display()), "");
        Ok(fs::write(self.folder.join(self.name(".cdx.json")), text)?)
    }

    /// Builds the image, as `docker load` expects it.
    fn image(&self) -> anyhow::Result<()> {
        let context = self.binary.parent().unwrap_or(Path::new("."));
        let tags = [format!("longshore:{}", self.version), "longshore:latest".to_owned()];
        let mut build = Command::new("docker");
        build.args(["build", "--quiet", "--file"]).arg(root().join("packaging/Dockerfile"));
        build.args(["--label", &format!("org.opencontainers.image.version={}", self.version)]);
        for tag in &tags {
            build.args(["--tag", tag]);
        }
        // No BuildKit, and nothing that would have to be fetched: the image is one file.
        steps::run(build.arg(context).env("DOCKER_BUILDKIT", "0"))?;
        let file = self.folder.join(self.name(".image.tar"));
        steps::run(Command::new("docker").arg("save").args(&tags).arg("--output").arg(&file))?;
        steps::run(Command::new("gzip").args(["--no-name", "--force"]).arg(&file))
    }

    fn checksums(&self) -> anyhow::Result<()> {
        let names = names(&self.folder)?;
        let sums = read(Command::new("sha256sum").arg("--").args(&names).current_dir(&self.folder))?;
        fs::write(self.folder.join("SHA256SUMS"), sums)?;
        let mut check = Command::new("sha256sum");
        steps::run(check.args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&self.folder))
    }
}

/// Returns the names of the files in a folder, in order.
fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
