use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use longshore_model::{
    ContainerFacts, ContainerId, EventId, EventSubject, HandlerEvent, Health, LastReported, Phase,
};
use longshore_wire::journal::{DeliveryRow, FORMAT, FailureRow};
use proptest::prelude::*;
use redb::TableDefinition;
use serde_json::value::RawValue;

use super::*;

fn event(id: &str) -> Arc<HandlerEvent> {
    Arc::new(HandlerEvent {
        id: EventId(id.to_owned()),
        event: "start".to_owned(),
        at: 7,
        synthetic: false,
        subject: EventSubject::Nothing,
        attributes: BTreeMap::new(),
    })
}

/// Accepts event `seq`, to be delivered to `x`.
fn accepted(seq: u64) -> Batch {
    Batch {
        ids: [(seq, Some(EventId(seq.to_string())))].into(),
        events: [(seq, Some(event(&seq.to_string())))].into(),
        deliveries: [(("x".to_owned(), seq), Some(DeliveryRow::default()))].into(),
        heard: Some(seq.cast_signed()),
        ..Batch::default()
    }
}

/// Records that event `seq` was delivered and is no longer needed.
fn delivered(seq: u64) -> Batch {
    Batch {
        ids: [(seq, None)].into(),
        events: [(seq, None)].into(),
        deliveries: [(("x".to_owned(), seq), None)].into(),
        ..Batch::default()
    }
}

async fn remembered(dir: &Path) -> Remembered {
    let (journal, remembered) = Journal::open(dir).unwrap();
    assert_eq!(journal.state().borrow().put_aside, None);
    journal.close().await;
    remembered
}

#[tokio::test]
async fn a_journal_of_the_first_release_is_read_with_nothing_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = Vec::new();
    let packed: &[u8] = include_bytes!("journal-0.1.redb.gz");
    flate2::read::GzDecoder::new(packed).read_to_end(&mut text).unwrap();
    std::fs::write(dir.path().join("journal.redb"), text).unwrap();
    let (journal, first) = Journal::open(dir.path()).unwrap();

    let at = 1_795_251_769_602_922_599;
    let events: Vec<String> = first
        .events
        .iter()
        .map(|(seq, event)| {
            format!("{seq} {} {} {} {:?}", event.id, event.event, event.at - at, event.attributes)
        })
        .collect();
    assert_eq!(
        events,
        [
            "1 1795251769602922599-c0c0c0c0c0c0-start start 0 {}",
            r#"2 1795251769602922600-c0c0c0c0c0c0-die die 1 {"exitCode": "137"}"#,
            "3 1795251769602922601-dbdbdbdbdbdb-destroy destroy 2 {}",
            "4 1795251769602922602-ne7-network_create network_create 3 {}",
        ]
    );
    assert_eq!(
        first.events.values().map(|event| event.synthetic).collect::<Vec<_>>(),
        [false, false, true, false]
    );
    let web = first.events[&1].container().unwrap();
    assert_eq!((web.name.as_str(), web.labels["tier"].as_str()), ("web", "front"));
    assert!(
        std::ptr::eq(web, first.events[&2].container().unwrap()),
        "events of one container share its facts"
    );
    assert_eq!(
        first.events[&4].subject,
        EventSubject::Network { id: "ne7".to_owned(), name: "front".to_owned() }
    );
    let row = |attempts, failed| DeliveryRow { attempts, failed };
    let failure = FailureRow { why: "it ended with exit status 3".to_owned(), at: at + 9 };
    assert_eq!(
        first.deliveries,
        BTreeMap::from([
            (("backup".to_owned(), 1), row(2, None)),
            (("backup".to_owned(), 2), row(0, None)),
            (("backup".to_owned(), 3), row(6, Some(failure))),
            (("dns".to_owned(), 4), row(0, None)),
        ])
    );
    let reported: Vec<String> = first
        .reported
        .values()
        .map(|it| {
            format!("{} {:?} {} {:?} {:?}", it.facts.name, it.phase, it.started, it.health, it.networks)
        })
        .collect();
    assert_eq!(
        reported,
        [
            format!(r#"api Running {} Healthy {{"bridge", "front"}}"#, at - 50),
            format!("web Ended {at} None {{}}"),
            "new Created 0 Starting {}".to_owned(),
            format!(r#"ice Paused {} Unhealthy {{"front"}}"#, at - 60),
        ]
    );
    let shown: Vec<&str> = first.inspections.values().map(|inspection| inspection.0.get()).collect();
    assert_eq!(shown, [r#"{"Id":"c0c0","Config":{"Env":["A=b"]}}"#]);
    assert_eq!((first.heard, first.begun, first.ids.len()), (Some(at + 3), Some(1), 4));

    // The file stays writable, and is read again.
    journal.write(accepted(5)).await;
    journal.close().await;
    let mut expected = first;
    expected.apply(&accepted(5));
    expected.heard = Some(5);
    assert_eq!(remembered(dir.path()).await, expected);
}

#[tokio::test]
async fn a_journal_of_a_newer_version_is_put_aside_and_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    journal.write(accepted(1)).await;
    journal.close().await;
    let path = dir.path().join("journal.redb");
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let marks: TableDefinition<'_, &str, i64> = TableDefinition::new("marks");
    transaction.open_table(marks).unwrap().insert("format", FORMAT + 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let (journal, remembered) = Journal::open(dir.path()).unwrap();
    assert_eq!(remembered, Remembered::default());
    let why = journal.state().borrow().put_aside.clone().unwrap();
    assert!(why.contains("a newer Longshore wrote it (format 2"), "{why}");
    assert!(dir.path().join("journal.redb.unreadable").exists());
    journal.close().await;
}

#[tokio::test]
async fn a_row_that_cannot_be_read_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    journal.write(accepted(1)).await;
    journal.write(accepted(2)).await;
    journal.close().await;
    let database = redb::Database::open(dir.path().join("journal.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let events: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("occurrences");
    transaction.open_table(events).unwrap().insert(1, b"{".as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let remembered = remembered(dir.path()).await;
    assert_eq!(remembered.unreadable, [1].into());
    assert_eq!(remembered.events.keys().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(remembered.deliveries.len(), 2, "whoever resumes from it removes what has no event");
}

#[tokio::test]
async fn a_file_that_is_no_journal_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    for rubbish in ["rubbish".repeat(1000), "redb".to_owned()] {
        std::fs::write(dir.path().join("journal.redb"), rubbish).unwrap();
        let (journal, remembered) = Journal::open(dir.path()).unwrap();
        assert_eq!(remembered, Remembered::default());
        let why = journal.state().borrow().put_aside.clone().unwrap();
        assert!(why.contains("journal.redb.unreadable"), "{why}");
        assert!(dir.path().join("journal.redb.unreadable").exists());
        journal.close().await;
    }
}

#[test]
fn a_journal_that_cannot_be_opened_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("journal.redb")).unwrap();
    assert!(Journal::open(dir.path()).is_err());
    assert!(dir.path().join("journal.redb").exists());
}

#[test]
fn nobody_else_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let _journal = Journal::open(dir.path()).unwrap();
    let mode = std::fs::metadata(dir.path().join("journal.redb")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Damages the file under a live journal: it is put aside, and later writes are kept.
async fn survives(damage: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    for seq in 1..50 {
        journal.write(accepted(seq)).await;
    }
    damage(&dir.path().join("journal.redb"));
    let mut seq = 50;
    let mut everything = Remembered::default();
    let state = journal.state();
    while state.borrow().losses == 0 {
        assert!(seq < 1000, "the damage is noticed");
        journal.write(accepted(seq)).await;
        seq += 1;
    }
    assert!(state.borrow().trouble.is_none() && state.borrow().put_aside.is_some());
    // What the dispatcher does then.
    for seq in 1..seq {
        everything.apply(&accepted(seq));
        journal.write(accepted(seq)).await;
    }
    assert_eq!(state.borrow().losses, 1);
    journal.close().await;
    assert_eq!(remembered(dir.path()).await, everything);
}

#[tokio::test]
async fn a_journal_that_is_overwritten_under_a_live_agent_is_put_aside_and_filled_again() {
    survives(|path| {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::options().write(true).open(path).unwrap();
        let len = file.metadata().unwrap().len();
        file.write_all_at(&vec![0xa5; usize::try_from(len).unwrap()], 0).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_journal_that_is_emptied_or_removed_or_replaced_under_a_live_agent_is_filled_again() {
    survives(|path| drop(std::fs::File::create(path).unwrap())).await;
    survives(|path| std::fs::remove_file(path).unwrap()).await;
    survives(|path| {
        let other = path.with_extension("other");
        std::fs::write(&other, "another").unwrap();
        std::fs::rename(other, path).unwrap();
    })
    .await;
}

#[tokio::test]
async fn while_the_disk_fails_nobody_waits_and_nothing_grows() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let (journal, _) = Journal::open(&data).unwrap();
    journal.write(accepted(1)).await;
    // No file can be created any more: the folder is gone, and something else has its name.
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::write(&data, "").unwrap();
    let began = Instant::now();
    let mut state = journal.state();
    for seq in 2..10_002 {
        journal.write(accepted(seq)).await;
        journal.write(delivered(seq)).await;
    }
    // 20,000 writes of a backlog, or waits for the next retry, would take minutes.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(state.borrow().trouble.as_ref().is_some_and(|why| why.contains("cannot open")), "{state:?}");
    journal.write(accepted(10_002)).await;
    std::fs::remove_file(&data).unwrap();
    std::fs::create_dir(&data).unwrap();
    let recovered = state.wait_for(|state| state.trouble.is_none());
    tokio::time::timeout(Duration::from_secs(20), recovered).await.unwrap().unwrap();
    journal.close().await;
    let remembered = remembered(&data).await;
    assert_eq!(remembered.events.keys().copied().collect::<Vec<_>>(), [10_002]);
    assert_eq!((remembered.deliveries.len(), remembered.heard), (1, Some(10_002)));
}

#[tokio::test]
async fn while_the_disk_fails_nobody_waits_for_a_retry_that_takes_long() {
    // Nobody receives: the thread is busy.
    let (batches, _received) = mpsc::channel();
    let (state, watched) = watch::channel(JournalState::default());
    let (_close, closed) = oneshot::channel();
    let journal = Journal { batches, state: watched, closed };
    let mut first = std::pin::pin!(journal.write(accepted(1)));
    let early = tokio::time::timeout(Duration::from_millis(50), &mut first).await;
    assert!(early.is_err(), "what may reach the disk is waited for");
    state.send_modify(|state| state.trouble = Some("full".to_owned()));
    let both = async { tokio::join!(first, journal.write(accepted(2))) };
    tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
}

/// Generates changes of every kind, to few enough keys that they collide.
fn batch() -> impl Strategy<Value = Batch> {
    let key = 0..4u64;
    let change = (0..7u8, key, any::<bool>(), any::<i64>());
    prop::collection::vec(change, 0..6).prop_map(|changes| {
        let mut batch = Batch::default();
        for (what, key, is_put, number) in changes {
            let container = ContainerId::new(format!("c{key}"));
            let facts = ContainerFacts {
                id: container.clone(),
                name: number.to_string(),
                image: String::new(),
                labels: BTreeMap::new(),
            };
            let reported = LastReported {
                facts: Arc::new(facts),
                phase: Phase::Running,
                started: number,
                health: Health::None,
                networks: [key.to_string()].into(),
                complete_until: number,
                as_listed: is_put,
            };
            let text = RawValue::from_string(number.to_string()).unwrap();
            match what {
                0 => drop(batch.ids.insert(key, is_put.then(|| EventId(number.to_string())))),
                1 => drop(batch.events.insert(key, is_put.then(|| event(&number.to_string())))),
                2 => {
                    let row = DeliveryRow { attempts: number as u32, failed: None };
                    batch.deliveries.insert(("x".to_owned(), key), is_put.then_some(row));
                }
                3 => drop(batch.reported.insert(container, is_put.then_some(reported))),
                4 => drop(batch.inspections.insert(container, is_put.then(|| Arc::from(text)))),
                5 => (batch.heard, batch.begun) = (Some(number), is_put.then_some(number)),
                _ => batch.wipe = is_put && number % 4 == 0,
            }
        }
        batch
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// The delivery simulation keeps its journal in memory: the file must behave the same.
    #[test]
    fn the_file_holds_what_a_journal_in_memory_does(batches in prop::collection::vec(batch(), 0..8)) {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut expected = Remembered::default();
        runtime.block_on(async {
            let (journal, _) = Journal::open(dir.path()).unwrap();
            for batch in batches {
                expected.apply(&batch);
                journal.write(batch).await;
            }
            journal.close().await;
            prop_assert_eq!(remembered(dir.path()).await, expected);
            Ok(())
        })?;
    }
}
