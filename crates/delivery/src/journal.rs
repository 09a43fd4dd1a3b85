//! What was told, what is still to be delivered and what failed: written down before anything is delivered, so that a
//! crash loses nothing.
//!
//! A thread of its own writes, as every commit waits for the disk; what comes meanwhile goes into the next commit
//! together. Where the disk fails, deliveries go on from memory and what could not be written is tried again.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use longshore_model::{ContainerFacts, ContainerId, EventId, Occurrence, OccurrenceSubject};
use longshore_plan::Told;
use longshore_runtime::chain;
use redb::{Database, ReadableDatabase, ReadableTable, StorageError, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{oneshot, watch};

const IDS: TableDefinition<'_, u64, &str> = TableDefinition::new("ids");
const OCCURRENCES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("occurrences");
const DELIVERIES: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("deliveries");
const TOLD: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("told");
const INSPECTIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("inspections");
const MARKS: TableDefinition<'_, &str, i64> = TableDefinition::new("marks");

/// The time of the last event that was written down, in nanoseconds since 1970.
const HEARD: &str = "heard";
/// Set once all containers that there were at the first start are known.
const BEGUN: &str = "begun";

/// How long after a failed write the next is tried.
const RETRY: Duration = Duration::from_secs(1);

/// Why the journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    #[error("cannot open {}", .0.display())]
    Open(PathBuf, #[source] redb::DatabaseError),
    #[error("cannot begin to write {0}")]
    Begin(PathBuf, #[source] Box<redb::TransactionError>),
    #[error("cannot use a table")]
    Table(#[from] redb::TableError),
    #[error("cannot read or write a row")]
    Row(#[from] redb::StorageError),
    #[error("cannot write to the disk")]
    Commit(#[from] redb::CommitError),
    #[error("a value has no JSON")]
    Json(#[from] serde_json::Error),
}

impl JournalError {
    /// Whether what the file holds is to blame, rather than the disk, its room or a permission.
    fn is_of_content(&self) -> bool {
        use redb::{CommitError, DatabaseError, TableError, TransactionError};
        let cause = match self {
            Self::Open(_, DatabaseError::Storage(cause)) | Self::Row(cause) => cause,
            Self::Open(_, DatabaseError::RepairAborted | DatabaseError::UpgradeRequired(_)) => return true,
            Self::Table(TableError::Storage(cause)) | Self::Commit(CommitError::Storage(cause)) => cause,
            Self::Table(_) => return true,
            Self::Begin(_, error) => match &**error {
                TransactionError::Storage(cause) => cause,
                _ => return false,
            },
            Self::Open(..) | Self::Commit(_) | Self::Json(_) => return false,
        };
        match cause {
            StorageError::Corrupted(_) => true,
            StorageError::Io(error) => {
                matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
            }
            _ => false,
        }
    }
}

/// A delivery as it is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    /// Attempts that failed.
    pub(super) attempts: u32,
    /// Set when no more attempts are made.
    pub(super) failed: Option<FailedRow>,
}

/// Why and when a delivery was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FailedRow {
    pub(super) why: String,
    /// Nanoseconds since 1970.
    pub(super) at: i64,
}

/// What changes together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Before the rest of it, forget what was told of containers: nobody is told of anything any more.
    pub(super) wipe: bool,
    /// Events, to know them again.
    pub(super) ids: Vec<(u64, EventId)>,
    /// Events that are so old that Docker does not tell them again.
    pub(super) outlived: Vec<u64>,
    /// Events that somebody is to be told of.
    pub(super) occurrences: Vec<(u64, Arc<Occurrence>)>,
    /// Deliveries by handler and event; without a row they are over.
    pub(super) deliveries: Vec<((String, u64), Option<Row>)>,
    /// Events that nobody needs any more.
    pub(super) forgotten: Vec<u64>,
    pub(super) told: BTreeMap<ContainerId, Option<Told>>,
    pub(super) inspections: BTreeMap<ContainerId, Option<Arc<RawValue>>>,
    pub(super) heard: Option<i64>,
    pub(super) begun: bool,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
            && self.outlived.is_empty()
            && self.occurrences.is_empty()
            && self.deliveries.is_empty()
            && self.forgotten.is_empty()
            && self.told.is_empty()
            && self.inspections.is_empty()
            && self.heard.is_none()
            && !self.begun
            && !self.wipe
    }

    fn append(&mut self, other: Self) {
        if other.wipe {
            self.wipe = true;
            self.told.clear();
            self.inspections.clear();
            (self.heard, self.begun) = (None, false);
        }
        self.ids.extend(other.ids);
        self.outlived.extend(other.outlived);
        self.occurrences.extend(other.occurrences);
        self.deliveries.extend(other.deliveries);
        self.forgotten.extend(other.forgotten);
        self.told.extend(other.told);
        self.inspections.extend(other.inspections);
        self.heard = other.heard.or(self.heard);
        self.begun |= other.begun;
    }
}

/// What an earlier agent wrote down.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    pub(super) ids: BTreeMap<u64, EventId>,
    pub(super) occurrences: BTreeMap<u64, Arc<Occurrence>>,
    pub(super) deliveries: BTreeMap<(String, u64), Row>,
    pub(super) told: BTreeMap<ContainerId, Told>,
    pub(super) inspections: BTreeMap<ContainerId, Arc<RawValue>>,
    pub(super) heard: Option<i64>,
    pub(super) begun: bool,
}

type Written = oneshot::Sender<()>;

/// The journal, open. Dropping it closes the file once everything is written.
#[derive(Debug)]
pub(super) struct Journal {
    batches: mpsc::Sender<(Batch, Written)>,
    trouble: watch::Receiver<Option<String>>,
    closed: oneshot::Receiver<()>,
}

impl Journal {
    /// Opens the journal in the data directory, or begins one. A file that cannot be read is put aside, and named.
    ///
    /// # Errors
    /// A new file cannot be made either.
    pub(super) fn open(data_dir: &Path) -> Result<(Self, Remembered, Option<String>), JournalError> {
        let path = data_dir.join("journal.redb");
        let read = |path: &Path| {
            let database = open(path)?;
            let remembered = remember(path, &database)?;
            Ok::<_, JournalError>((database, remembered))
        };
        let mut put_aside = None;
        let (database, remembered) = match read(&path) {
            Ok(read) => read,
            Err(error) if !error.is_of_content() => return Err(error),
            Err(error) => {
                let aside = data_dir.join("journal.redb.unreadable");
                let _ = std::fs::rename(&path, &aside);
                put_aside = Some(format!("{}; it was put aside as {}", chain(&error), aside.display()));
                read(&path)?
            }
        };
        let (batches, received) = mpsc::channel();
        let (close, closed) = oneshot::channel();
        let (troubled, trouble) = watch::channel(None);
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                write_all(&path, Some(database), &received, &troubled);
                let _ = close.send(());
            })
            .map_err(|error| JournalError::Row(redb::StorageError::Io(error)))?;
        Ok((Self { batches, trouble, closed }, remembered, put_aside))
    }

    /// Writes a batch after those before it; resolves when it is on the disk, or was tried and is kept for later.
    pub(super) fn write(&self, batch: Batch) -> impl Future<Output = ()> + Send + 'static {
        let (written, answer) = oneshot::channel();
        let _ = self.batches.send((batch, written));
        async move { answer.await.unwrap_or_default() }
    }

    /// Why nothing can be written, while nothing can.
    pub(super) fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.clone()
    }

    /// Closes the file once everything is written.
    pub(super) async fn close(self) {
        drop(self.batches);
        let _ = self.closed.await;
    }
}

fn open(path: &Path) -> Result<Database, JournalError> {
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |error| JournalError::Open(path.to_owned(), error);
    // Inspections hold environments, and those hold secrets.
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    let file = options.open(path).map_err(|error| failed(error.into()))?;
    redb::Builder::new().set_cache_size(4 << 20).create_file(file).map_err(failed)
}

fn remember(path: &Path, database: &Database) -> Result<Remembered, JournalError> {
    let mut remembered = Remembered::default();
    let begin = |error| JournalError::Begin(path.to_owned(), Box::new(error));
    // Makes the tables, so that reading finds them.
    let transaction = database.begin_write().map_err(begin)?;
    transaction.open_table(IDS)?;
    transaction.open_table(OCCURRENCES)?;
    transaction.open_table(DELIVERIES)?;
    transaction.open_table(TOLD)?;
    transaction.open_table(INSPECTIONS)?;
    transaction.open_table(MARKS)?;
    transaction.commit()?;
    let transaction = database.begin_read().map_err(begin)?;
    for row in transaction.open_table(IDS)?.iter()? {
        let (seq, id) = row?;
        remembered.ids.insert(seq.value(), EventId(id.value().to_owned()));
    }
    let mut facts = BTreeMap::new();
    for row in transaction.open_table(OCCURRENCES)?.iter()? {
        let (seq, value) = row?;
        let Some(mut occurrence) = parse::<Occurrence>(value.value()) else { continue };
        share(&mut occurrence, &mut facts);
        remembered.occurrences.insert(seq.value(), Arc::new(occurrence));
    }
    for row in transaction.open_table(DELIVERIES)?.iter()? {
        let (key, value) = row?;
        let (handler, seq) = key.value();
        remembered.deliveries.extend(parse(value.value()).map(|row| ((handler.to_owned(), seq), row)));
    }
    for row in transaction.open_table(TOLD)?.iter()? {
        let (id, value) = row?;
        remembered.told.extend(parse(value.value()).map(|told| (ContainerId::new(id.value()), told)));
    }
    for row in transaction.open_table(INSPECTIONS)?.iter()? {
        let (id, value) = row?;
        let text = parse::<Box<RawValue>>(value.value());
        remembered.inspections.extend(text.map(|text| (ContainerId::new(id.value()), Arc::from(text))));
    }
    let marks = transaction.open_table(MARKS)?;
    remembered.heard = marks.get(HEARD)?.map(|at| at.value());
    remembered.begun = marks.get(BEGUN)?.is_some();
    Ok(remembered)
}

/// Has events of one container share what is known of it, as they did when they were heard.
fn share(occurrence: &mut Occurrence, known: &mut BTreeMap<ContainerId, Arc<ContainerFacts>>) {
    let OccurrenceSubject::Container(facts) = &mut occurrence.subject else { return };
    let latest = known.entry(facts.id.clone()).or_insert_with(|| facts.clone());
    if latest == facts {
        *facts = latest.clone();
    } else {
        *latest = facts.clone();
    }
}

/// A row that another version wrote may mean nothing to this one: it costs only itself.
fn parse<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value)
        .inspect_err(|error| tracing::warn!(%error, "a row of the journal cannot be read and is left out"))
        .ok()
}

fn write_all(
    path: &Path,
    mut database: Option<Database>,
    received: &mpsc::Receiver<(Batch, Written)>,
    troubled: &watch::Sender<Option<String>>,
) {
    let mut batch = Batch::default();
    let mut waiting: Vec<Written> = Vec::new();
    loop {
        match if batch.is_empty() {
            received.recv().map_err(Into::into)
        } else {
            received.recv_timeout(RETRY)
        } {
            Ok((more, written)) => {
                batch.append(more);
                waiting.push(written);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if batch.is_empty() => return,
            Err(RecvTimeoutError::Disconnected) => {
                // The last try; what fails here is made up from Docker at the next start.
                if let Err(error) = write(path, &mut database, &batch) {
                    tracing::error!("the journal misses what happened last: {}", chain(&error));
                }
                return;
            }
        }
        while let Ok((more, written)) = received.try_recv() {
            batch.append(more);
            waiting.push(written);
        }
        let outcome = write(path, &mut database, &batch).map_err(|error| chain(&error));
        match &outcome {
            Ok(()) => batch = Batch::default(),
            // After a failed write, the file is opened anew.
            Err(_) => database = None,
        }
        let trouble = outcome.as_ref().err().cloned();
        troubled.send_if_modified(|known| {
            let differs = known.is_some() != trouble.is_some();
            if differs {
                *known = trouble;
            }
            differs
        });
        for written in waiting.drain(..) {
            let _ = written.send(());
        }
    }
}

fn write(path: &Path, database: &mut Option<Database>, batch: &Batch) -> Result<(), JournalError> {
    let database = match database {
        Some(database) => database,
        None => database.insert(open(path)?),
    };
    let transaction =
        database.begin_write().map_err(|error| JournalError::Begin(path.to_owned(), Box::new(error)))?;
    {
        let mut table = transaction.open_table(IDS)?;
        for (seq, id) in &batch.ids {
            table.insert(seq, id.0.as_str())?;
        }
        for seq in &batch.outlived {
            table.remove(seq)?;
        }
        let mut table = transaction.open_table(OCCURRENCES)?;
        for (seq, occurrence) in &batch.occurrences {
            table.insert(seq, serde_json::to_vec(occurrence)?.as_slice())?;
        }
        for seq in &batch.forgotten {
            table.remove(seq)?;
        }
        let mut table = transaction.open_table(DELIVERIES)?;
        for ((handler, seq), row) in &batch.deliveries {
            match row {
                Some(row) => table.insert((handler.as_str(), *seq), serde_json::to_vec(row)?.as_slice())?,
                None => table.remove((handler.as_str(), *seq))?,
            };
        }
        if batch.wipe {
            transaction.open_table(TOLD)?.retain(|_, _| false)?;
            transaction.open_table(INSPECTIONS)?.retain(|_, _| false)?;
            transaction.open_table(MARKS)?.retain(|_, _| false)?;
        }
        let mut table = transaction.open_table(TOLD)?;
        for (id, told) in &batch.told {
            match told {
                Some(told) => table.insert(id.as_str(), serde_json::to_vec(told)?.as_slice())?,
                None => table.remove(id.as_str())?,
            };
        }
        let mut table = transaction.open_table(INSPECTIONS)?;
        for (id, inspection) in &batch.inspections {
            match inspection {
                Some(inspection) => table.insert(id.as_str(), inspection.get().as_bytes())?,
                None => table.remove(id.as_str())?,
            };
        }
        let mut table = transaction.open_table(MARKS)?;
        if let Some(heard) = batch.heard {
            table.insert(HEARD, heard)?;
        }
        if batch.begun {
            table.insert(BEGUN, 1)?;
        }
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occurrence(id: &str) -> Arc<Occurrence> {
        Arc::new(Occurrence {
            id: EventId(id.to_owned()),
            event: "start".to_owned(),
            at: 7,
            made_up: false,
            subject: OccurrenceSubject::Nothing,
            attributes: BTreeMap::new(),
        })
    }

    #[tokio::test]
    async fn what_is_written_is_remembered_and_what_is_over_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, remembered, aside) = Journal::open(dir.path()).unwrap();
        assert!(remembered.occurrences.is_empty() && !remembered.begun && aside.is_none());
        let row = |attempts| Some(Row { attempts, failed: None });
        let batch = Batch {
            ids: vec![(1, EventId("a".into())), (2, EventId("b".into()))],
            occurrences: vec![(1, occurrence("a")), (2, occurrence("b"))],
            deliveries: vec![(("x".into(), 1), row(0)), (("x".into(), 2), row(0))],
            heard: Some(9),
            begun: true,
            ..Batch::default()
        };
        journal.write(batch).await;
        let batch = Batch {
            deliveries: vec![(("x".into(), 1), None), (("x".into(), 2), row(3))],
            forgotten: vec![1, 2],
            outlived: vec![1],
            ..Batch::default()
        };
        journal.write(batch).await;
        journal.close().await;
        let (_journal, remembered, _) = Journal::open(dir.path()).unwrap();
        assert_eq!(remembered.ids, BTreeMap::from([(2, EventId("b".into()))]));
        assert!(remembered.occurrences.is_empty());
        assert_eq!(remembered.deliveries, BTreeMap::from([(("x".into(), 2), row(3).unwrap())]));
        assert_eq!((remembered.heard, remembered.begun), (Some(9), true));
    }

    #[tokio::test]
    async fn events_of_one_container_share_its_facts_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let of = |id: &str, name: &str| {
            let facts = ContainerFacts {
                id: ContainerId::new("c0ffee"),
                name: name.to_owned(),
                image: "nginx".to_owned(),
                labels: BTreeMap::new(),
            };
            let occurrence = Occurrence::clone(&occurrence(id));
            Arc::new(Occurrence { subject: OccurrenceSubject::Container(facts.into()), ..occurrence })
        };
        let (journal, ..) = Journal::open(dir.path()).unwrap();
        let occurrences = vec![(1, of("a", "old")), (2, of("b", "new")), (3, of("c", "new"))];
        journal.write(Batch { occurrences: occurrences.clone(), ..Batch::default() }).await;
        journal.close().await;
        let (_journal, remembered, _) = Journal::open(dir.path()).unwrap();
        assert_eq!(remembered.occurrences, occurrences.into_iter().collect());
        let facts = |seq| remembered.occurrences[&seq].container().unwrap();
        assert!(std::ptr::eq(facts(2), facts(3)));
    }

    #[tokio::test]
    async fn what_was_told_is_wiped_and_deliveries_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, ..) = Journal::open(dir.path()).unwrap();
        let row = Some(Row::default());
        let deliveries = vec![(("x".into(), 1), row)];
        let batch = Batch { deliveries, heard: Some(9), begun: true, ..Batch::default() };
        drop(journal.write(batch));
        journal.write(Batch { wipe: true, ..Batch::default() }).await;
        journal.close().await;
        let (_journal, remembered, _) = Journal::open(dir.path()).unwrap();
        assert_eq!((remembered.heard, remembered.begun, remembered.deliveries.len()), (None, false, 1));
    }

    #[tokio::test]
    async fn a_file_that_is_no_journal_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        for rubbish in ["rubbish".repeat(1000), "redb".to_owned()] {
            std::fs::write(dir.path().join("journal.redb"), rubbish).unwrap();
            let (journal, remembered, aside) = Journal::open(dir.path()).unwrap();
            assert!(remembered.occurrences.is_empty());
            assert!(aside.unwrap().contains("journal.redb.unreadable"));
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
}
