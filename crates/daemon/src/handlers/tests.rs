//! Real folders with files that appear, break and disappear.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use longshore_model::{HandlerSet, Job};
use longshore_plan::handlers::{Definition, read_ini};
use longshore_runtime::Problems;
use tempfile::TempDir;
use tokio::sync::watch as signal;
use tokio_util::task::AbortOnDropHandle;

use super::watch::keep_reading;
use super::{balance_job, follow_balance_job, watch};
use crate::config::HandlerSettings;

fn discover(settings: &HandlerSettings, before: &HandlerSet) -> HandlerSet {
    super::discover::discover(settings, before).set
}

/// Folders of handlers and of scripts.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for folder in ["a", "b", "scripts"] {
            fs::create_dir(place.path(folder)).unwrap();
        }
        place.script("ok.sh");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn script(&self, name: &str) {
        self.write(&format!("scripts/{name}"), "#!/bin/sh\n", 0o755);
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        // As a careful editor does it: the file appears complete or not at all.
        let temporary = self.path("temporary");
        fs::write(&temporary, text).unwrap();
        fs::set_permissions(&temporary, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(temporary, self.path(name)).unwrap();
    }

    fn handler(&self, name: &str, event: &str) {
        self.write(&format!("{name}.ini"), &script(event), 0o644);
    }

    fn settings(&self) -> HandlerSettings {
        HandlerSettings {
            paths: vec![self.path("a"), self.path("b")],
            script_paths: vec![self.path("scripts")],
            inline: Vec::new(),
        }
    }

    fn look(&self, before: &HandlerSet) -> HandlerSet {
        discover(&self.settings(), before)
    }

    /// Returns the problems, without the temporary folder's name.
    fn told(&self, set: &HandlerSet) -> String {
        let lines: Vec<_> = set.problems.iter().map(ToString::to_string).collect();
        lines.join("\n").replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn script(event: &str) -> String {
    format!("[handler]\nclass=script\nevents={event}\n[params]\nscript=ok.sh\n")
}

fn events(set: &HandlerSet) -> Vec<(String, Vec<String>)> {
    let of = |(name, handler): (&String, &Arc<longshore_model::Handler>)| {
        (name.clone(), handler.filter.events.named.clone())
    };
    set.handlers.iter().map(of).collect()
}

fn names(set: &HandlerSet) -> Vec<&str> {
    set.handlers.keys().map(String::as_str).collect()
}

#[test]
fn files_are_read_from_all_folders_and_others_are_left_alone() {
    let place = Place::new();
    place.handler("a/two", "start");
    place.handler("b/one", "die");
    place.write("a/lb.ini.example", "nonsense", 0o644);
    place.write("a/.swap.ini", "nonsense", 0o644);
    let set = place.look(&HandlerSet::default());
    assert_eq!(names(&set), ["one", "two"]);
    assert_eq!(place.told(&set), "");
    let Job::Script { program, ini, .. } = &set.handlers["two"].job else { panic!() };
    assert_eq!(program, &place.path("scripts/ok.sh"));
    assert_eq!(ini.as_deref(), Some(place.path("a/two.ini").as_path()));
}

#[test]
fn of_two_handlers_of_a_name_the_first_counts_and_the_settings_file_goes_before_all() {
    let place = Place::new();
    place.handler("a/one", "start");
    place.handler("b/one", "die");
    let set = place.look(&HandlerSet::default());
    assert_eq!(events(&set), [("one".to_owned(), vec!["start".to_owned()])]);
    assert_eq!(
        place.told(&set),
        "b/one.ini: handler \"one\" is already defined in a/one.ini: this definition is ignored (give it another name)"
    );
    let text = script("pause");
    let inline = read_ini("one", Path::new("/etc/longshore/longshore.toml"), &text).unwrap();
    let inline = Definition { line: Some(7), is_ini: false, ..inline };
    let set = discover(&HandlerSettings { inline: vec![inline], ..place.settings() }, &set);
    assert_eq!(events(&set), [("one".to_owned(), vec!["pause".to_owned()])]);
    assert_eq!(set.handlers["one"].origin.line, Some(7));
    assert_eq!(set.problems.len(), 2);
}

#[test]
fn a_folder_named_twice_is_looked_at_once() {
    let place = Place::new();
    place.handler("a/one", "start");
    symlink(place.path("a"), place.path("c")).unwrap();
    let mut settings = place.settings();
    settings.paths.extend([place.path("a"), place.path("c"), place.path("absent")]);
    let set = discover(&settings, &HandlerSet::default());
    assert_eq!((names(&set), place.told(&set)), (vec!["one"], String::new()));
}

#[test]
fn a_file_that_cannot_be_a_definition_is_told_of_and_costs_only_itself() {
    let place = Place::new();
    place.handler("a/good", "start");
    place.write("a/broken.ini", "[handler\n", 0o644);
    place.write("a/everybodys.ini", &script("start"), 0o666);
    place.write("a/long.ini", &format!("#{}", "x".repeat(1024 * 1024)), 0o644);
    fs::write(place.path("a/latin.ini"), b"[handler]\n#caf\xe9\n").unwrap();
    fs::create_dir(place.path("a/folder.ini")).unwrap();
    fs::write(place.path("a/line\nbreak.ini"), "").unwrap();
    symlink("/nowhere", place.path("a/dangling.ini")).unwrap();
    let set = place.look(&HandlerSet::default());
    assert_eq!(names(&set), ["good"]);
    let broken: Vec<_> = set.broken.keys().map(String::as_str).collect();
    assert_eq!(broken, ["broken", "everybodys", "folder", "latin", "long"]);
    let told = place.told(&set);
    for part in [
        "a/broken.ini:1: not an INI file",
        "a/everybodys.ini: not read: anyone can write to it",
        "a/folder.ini: not read: not a regular file",
        "a/latin.ini: not read: not UTF-8",
        "a/line\u{fffd}break.ini: its name",
        "a/long.ini: not read: longer than 1048576 bytes",
    ] {
        assert!(told.contains(part), "{part:?} not in\n{told}");
    }
    assert_eq!(set.problems.len(), 6, "{told}");
}

#[test]
fn a_pipe_in_the_folder_stops_nobody() {
    let place = Place::new();
    let pipe = place.path("a/pipe.ini");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let set = place.look(&HandlerSet::default());
    assert!(place.told(&set).contains("a/pipe.ini: not read: not a regular file"));
}

#[test]
fn a_handler_whose_file_breaks_goes_on_as_it_was_until_the_file_is_good_again_or_gone() {
    let place = Place::new();
    place.handler("a/one", "start");
    let first = place.look(&HandlerSet::default());
    place.write("a/one.ini", "[handler]\nclass=script\nevents=die\n", 0o644);
    let second = place.look(&first);
    assert_eq!(events(&second), [("one".to_owned(), vec!["start".to_owned()])]);
    assert!(second.broken.contains_key("one"));
    assert!(Arc::ptr_eq(&first.handlers["one"], &second.handlers["one"]));
    assert!(place.told(&second).contains("a/one.ini: handler \"one\" keeps its last good definition"));
    place.handler("a/one", "die");
    let third = place.look(&second);
    assert_eq!(events(&third), [("one".to_owned(), vec!["die".to_owned()])]);
    assert_eq!((third.broken.len(), place.told(&third)), (0, String::new()));
    fs::remove_file(place.path("a/one.ini")).unwrap();
    assert!(place.look(&third).handlers.is_empty());
}

#[test]
fn a_broken_file_does_not_inherit_a_handler_of_another_file() {
    let place = Place::new();
    place.handler("b/one", "start");
    let first = place.look(&HandlerSet::default());
    place.write("a/one.ini", "nonsense", 0o644);
    let second = place.look(&first);
    assert!(second.handlers.is_empty(), "{}", place.told(&second));
}

#[test]
fn a_handler_that_is_switched_off_goes_even_if_its_script_is_gone() {
    let place = Place::new();
    place.handler("a/one", "start");
    let first = place.look(&HandlerSet::default());
    fs::remove_file(place.path("scripts/ok.sh")).unwrap();
    place.write("a/one.ini", &script("start\nenabled=0"), 0o644);
    let second = place.look(&first);
    assert_eq!((second.handlers.len(), second.broken.len(), place.told(&second)), (0, 0, String::new()));
}

#[test]
fn a_script_is_looked_for_in_order_and_one_that_cannot_be_executed_is_passed_over() {
    let place = Place::new();
    fs::create_dir(place.path("more")).unwrap();
    place.handler("a/one", "start");
    let mut settings = place.settings();
    settings.script_paths = vec![place.path("more"), place.path("scripts")];
    place.write("more/ok.sh", "", 0o644);
    let program = |set: &HandlerSet| match &set.handlers["one"].job {
        Job::Script { program, .. } => program.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(program(&discover(&settings, &HandlerSet::default())), place.path("scripts/ok.sh"));
    place.write("more/ok.sh", "", 0o755);
    assert_eq!(program(&discover(&settings, &HandlerSet::default())), place.path("more/ok.sh"));
    settings.script_paths.clear();
    let set = discover(&settings, &HandlerSet::default());
    assert!(place.told(&set).contains("a/one.ini:5: script: no such script: \"ok.sh\""));
    place.write(
        "a/one.ini",
        &script("start").replace("ok.sh", &place.path("more/ok.sh").display().to_string()),
        0o644,
    );
    assert_eq!(program(&discover(&settings, &HandlerSet::default())), place.path("more/ok.sh"));
}

#[test]
fn a_python_class_looks_for_scripts_where_scripts_are_looked_for() {
    let place = Place::new();
    place.write("a/demo.ini", "[handler]\nclass=DockerGlue.handlers.demo.DemoHandler\nevents=all\n", 0o644);
    let set = place.look(&HandlerSet::default());
    let Job::Plugin { command } = &set.handlers["demo"].job else { panic!("{}", place.told(&set)) };
    let scripts = place.path("scripts").display().to_string();
    assert!(command.ends_with(&["--script-path".to_owned(), scripts]), "{command:?}");
}

#[test]
fn the_first_enabled_balancer_is_found() {
    let place = Place::new();
    assert_eq!(balance_job(&place.settings()), None);
    place.write("a/lb.ini", "[handler]\nclass=DockerGlue.handlers.lb.HAProxyHandler\nenabled=0\n", 0o644);
    assert_eq!(balance_job(&place.settings()), None);
    place.write("b/x.ini", "[handler]\nclass=balancer\n[params]\ntemplate_dir=/t\n", 0o644);
    assert_eq!(balance_job(&place.settings()).unwrap().template_dir, "/t");
}

/// Folders that are watched.
struct Kept {
    sets: signal::Receiver<Arc<HandlerSet>>,
    settings: signal::Sender<HandlerSettings>,
    problems: Problems,
    _reading: AbortOnDropHandle<()>,
}

impl Kept {
    fn of(settings: HandlerSettings) -> Self {
        let (settings, receiver) = signal::channel(settings);
        let problems = Problems::default();
        let (sets, reading) = watch(receiver, problems.clone());
        Self { sets, settings, problems, _reading: reading }
    }

    async fn until(&mut self, holds: impl FnMut(&Arc<HandlerSet>) -> bool) -> Arc<HandlerSet> {
        let found = tokio::time::timeout(Duration::from_secs(10), self.sets.wait_for(holds)).await;
        let found = found.ok().map(|set| Arc::clone(&set.unwrap()));
        found.unwrap_or_else(|| panic!("it stays {:?}", self.sets.borrow()))
    }
}

#[tokio::test]
async fn the_first_set_is_there_at_once_and_a_change_of_a_file_makes_the_next() {
    let place = Place::new();
    place.handler("a/one", "start");
    let mut kept = Kept::of(place.settings());
    assert_eq!(names(&kept.sets.borrow()), ["one"]);
    place.handler("a/two", "start");
    kept.until(|set| set.handlers.len() == 2).await;
    fs::write(place.path("a/two.ini"), script("die")).unwrap();
    let set = kept.until(|set| events(set).contains(&("two".to_owned(), vec!["die".to_owned()]))).await;
    assert_eq!(names(&set), ["one", "two"]);
    fs::remove_file(place.path("a/one.ini")).unwrap();
    kept.until(|set| names(set) == ["two"]).await;
}

#[tokio::test]
async fn problems_of_files_show_and_go() {
    let place = Place::new();
    let mut kept = Kept::of(place.settings());
    place.write("a/one.ini", "nonsense", 0o644);
    kept.until(|set| set.broken.contains_key("one")).await;
    let told: Vec<_> = kept.problems.all().iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|line| line.contains("a/one.ini:1: ")), "{told:?}");
    place.handler("a/one", "start");
    kept.until(|set| set.handlers.contains_key("one")).await;
    assert_eq!(kept.problems.all(), []);
}

#[tokio::test]
async fn folders_may_come_later_go_and_be_put_in_anothers_place() {
    let place = Place::new();
    let settings = HandlerSettings { paths: vec![place.path("deep/er/handlers")], ..place.settings() };
    let mut kept = Kept::of(settings);
    fs::create_dir_all(place.path("deep/er/handlers")).unwrap();
    place.handler("deep/er/handlers/one", "start");
    kept.until(|set| names(set) == ["one"]).await;
    fs::rename(place.path("deep"), place.path("away")).unwrap();
    kept.until(|set| set.handlers.is_empty()).await;
    fs::create_dir_all(place.path("deep/er")).unwrap();
    place.handler("a/linked", "start");
    symlink(place.path("a"), place.path("deep/er/handlers")).unwrap();
    kept.until(|set| names(set) == ["linked"]).await;
    place.handler("b/other", "start");
    let next = place.path("deep/er/next");
    symlink(place.path("b"), &next).unwrap();
    fs::rename(next, place.path("deep/er/handlers")).unwrap();
    kept.until(|set| names(set) == ["other"]).await;
    place.handler("b/more", "start");
    kept.until(|set| names(set) == ["more", "other"]).await;
}

#[tokio::test]
async fn a_script_that_comes_later_makes_its_handler() {
    let place = Place::new();
    place.write("a/one.ini", &script("start").replace("ok.sh", "late.sh"), 0o644);
    let mut kept = Kept::of(place.settings());
    assert!(kept.sets.borrow().broken.contains_key("one"));
    place.script("late.sh");
    kept.until(|set| names(set) == ["one"]).await;
}

#[tokio::test]
async fn a_script_outside_the_folders_that_comes_later_makes_its_handler_at_once() {
    let place = Place::new();
    let outside = place.path("outside/late.sh").display().to_string();
    place.write("a/one.ini", &script("start").replace("ok.sh", &outside), 0o644);
    let mut kept = Kept::of(place.settings());
    assert!(kept.sets.borrow().broken.contains_key("one"));
    fs::create_dir(place.path("outside")).unwrap();
    place.write("outside/late.sh", "#!/bin/sh\n", 0o644);
    // Before the periodic read, which happens without a change.
    kept.until(|set| set.problems.iter().any(|problem| problem.to_string().contains("is not executable")))
        .await;
    fs::set_permissions(place.path("outside/late.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    kept.until(|set| names(set) == ["one"]).await;
    fs::remove_file(place.path("outside/late.sh")).unwrap();
    kept.until(|set| set.broken.contains_key("one")).await;
}

/// A mount whose file system never answers, for as long as this value lives: nobody serves the kernel's
/// requests.
struct HungMount {
    path: PathBuf,
    holder: std::process::Child,
}

impl HungMount {
    fn over(path: PathBuf) -> Self {
        let script = "exec 5<>/dev/fuse
            mount -i -t fuse hung \"$0\" -o fd=5,rootmode=40000,user_id=0,group_id=0 && echo mounted && exec sleep 600";
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script]).arg(&path).stdout(std::process::Stdio::piped());
        let mut holder = command.spawn().unwrap();
        let mut line = String::new();
        let output = holder.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        assert_eq!(line, "mounted\n", "only root may mount, as for the tests in the lab");
        Self { path, holder }
    }
}

impl Drop for HungMount {
    fn drop(&mut self) {
        // Unblocks callers: the kernel reports that the file system is gone.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

#[tokio::test]
async fn a_mount_that_hangs_costs_only_what_lies_on_it() {
    let place = Place::new();
    place.handler("a/one", "start");
    fs::create_dir(place.path("c")).unwrap();
    let mounts = [HungMount::over(place.path("b")), HungMount::over(place.path("c"))];
    let mut settings = place.settings();
    settings.paths.reverse();
    let hangs = |set: &HandlerSet, part: &str| {
        let told = set.problems.iter().map(ToString::to_string).collect::<String>();
        told.contains(part) && told.contains("does not answer")
    };
    let mut kept = Kept::of(settings.clone());
    assert_eq!(names(&kept.sets.borrow()), ["one"], "the folder after it is read");
    assert!(hangs(&kept.sets.borrow(), "/b: cannot list its handlers"));
    place.handler("a/two", "start");
    kept.until(|set| set.handlers.len() == 2).await;

    // A script may be there, so no other is used instead. Running handlers keep running.
    settings.script_paths.insert(0, place.path("c"));
    kept.settings.send_replace(settings.clone());
    let set = kept.until(|set| hangs(set, "/c")).await;
    assert_eq!(names(&set), ["one", "two"]);

    drop(mounts);
    kept.settings.send_replace(settings);
    kept.until(|set| set.problems.is_empty()).await;
}

#[tokio::test]
async fn settings_told_again_have_everything_read_again() {
    let place = Place::new();
    let outside = place.path("outside.ini");
    fs::write(&outside, script("start")).unwrap();
    symlink(&outside, place.path("a/one.ini")).unwrap();
    let mut kept = Kept::of(place.settings());
    assert_eq!(names(&kept.sets.borrow()), ["one"]);
    // A link's target is not watched.
    fs::write(&outside, script("die")).unwrap();
    kept.settings.send_replace(place.settings());
    kept.until(|set| events(set) == [("one".to_owned(), vec!["die".to_owned()])]).await;
    kept.settings.send_replace(HandlerSettings { paths: Vec::new(), ..place.settings() });
    kept.until(|set| set.handlers.is_empty()).await;
}

#[tokio::test]
async fn reading_the_files_is_no_change_of_them() {
    let place = Place::new();
    place.handler("a/one", "start");
    let looks = Arc::new(AtomicUsize::new(0));
    let (_keep, settings) = signal::channel(place.settings());
    let counted = Arc::clone(&looks);
    let (mut sets, _reading) = keep_reading(settings, move |_| {
        counted.fetch_add(1, Relaxed);
    });
    for _ in 0..20 {
        fs::read(place.path("a/one.ini")).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(looks.load(Relaxed), 1);
    place.handler("a/two", "start");
    sets.changed().await.unwrap();
    assert_eq!(looks.load(Relaxed), 2);
}

#[tokio::test]
async fn a_balancer_that_comes_changes_and_goes_is_followed() {
    let place = Place::new();
    let (mut jobs, _following) = follow_balance_job(place.settings());
    assert_eq!(*jobs.borrow_and_update(), None);
    let lb = |folder: &str| format!("[handler]\nclass=balancer\n[params]\ntemplate_dir={folder}\n");
    let wait = Duration::from_secs(10);
    for folder in ["/one", "/two"] {
        place.write("a/lb.ini", &lb(folder), 0o644);
        let is = |job: &Option<longshore_model::BalanceJob>| {
            job.as_ref().is_some_and(|job| job.template_dir == folder)
        };
        tokio::time::timeout(wait, jobs.wait_for(is)).await.unwrap().unwrap();
    }
    fs::remove_file(place.path("a/lb.ini")).unwrap();
    tokio::time::timeout(wait, jobs.wait_for(Option::is_none)).await.unwrap().unwrap();
}
