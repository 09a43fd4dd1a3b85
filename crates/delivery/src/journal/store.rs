//! The journal's file.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_model::{ContainerFacts, ContainerId, EventId, EventSubject, HandlerEvent, LastReported};
use longshore_wire::journal::{DeliveryRow, EventRow, FORMAT, ReportedRow, Row, check_format};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::value::RawValue;

use super::batch::{Batch, Inspection, Keys, Remembered};
use super::error::JournalError;

// Names from the first release, which existing files use.
const IDS: TableDefinition<'_, u64, &str> = TableDefinition::new("ids");
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("occurrences");
const DELIVERIES: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("deliveries");
const REPORTED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("told");
const INSPECTIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("inspections");
const MARKS: TableDefinition<'_, &str, i64> = TableDefinition::new("marks");

/// The time of the last event from Docker, in nanoseconds since 1970.
const HEARD: &str = "heard";
/// When the containers of the first start were recorded, in nanoseconds since 1970. The first release wrote 1.
const BEGUN: &str = "begun";
/// The file's format version; the first release wrote none.
const FORMAT_MARK: &str = "format";

/// The file, open or to be reopened, and the keys of its rows.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    open: Option<Open>,
    keys: Keys,
}

#[derive(Debug)]
struct Open {
    database: Database,
    /// The file as last written. The database itself would notice another program's changes only at the next start,
    /// when it reads the file again.
    file: Stamp,
}

/// Identifies a file and its last modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    number: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        let modified = (file.mtime(), file.mtime_nsec());
        Some(Self { device: file.dev(), number: file.ino(), size: file.size(), modified })
    }
}

impl Store {
    /// Opens or creates the file, and returns its contents.
    pub(super) fn open(path: &Path) -> Result<(Self, Remembered), JournalError> {
        guarded(|| {
            let mut open = Open::new(path)?;
            let remembered = remember(&open.database)?;
            open.file = Stamp::of(path).ok_or(JournalError::Replaced)?;
            let mut keys = Keys {
                ids: remembered.ids.keys().copied().collect(),
                events: remembered.events.keys().chain(&remembered.unreadable).copied().collect(),
                deliveries: remembered.deliveries.keys().cloned().collect(),
                ..Keys::default()
            };
            keys.reported.extend(remembered.reported.keys().cloned());
            keys.inspections.extend(remembered.inspections.keys().cloned());
            Ok((Self { path: path.to_owned(), open: Some(open), keys }, remembered))
        })
    }

    /// Returns the keys of the rows on disk.
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Writes a batch. After a failure, the next write reopens the file.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), JournalError> {
        let written = guarded(|| {
            let open = match &mut self.open {
                Some(open) => open,
                None => self.open.insert(Open::new(&self.path)?),
            };
            if Stamp::of(&self.path) != Some(open.file) {
                return Err(JournalError::Replaced);
            }
            write(&open.database, batch)?;
            open.file = Stamp::of(&self.path).ok_or(JournalError::Replaced)?;
            Ok(())
        });
        match &written {
            Ok(()) => self.keys.written(batch),
            Err(_) => self.close(),
        }
        written
    }

    /// Abandons the current file: the next write creates another. Returns where the old one is, if it still exists.
    pub(super) fn put_aside(&mut self) -> Option<PathBuf> {
        self.close();
        self.keys = Keys::default();
        put_aside(&self.path)
    }

    /// Closes the file. If it was changed, closing may fail like writing.
    fn close(&mut self) {
        let open = self.open.take();
        let _ = guarded(|| {
            drop(open);
            Ok(())
        });
    }
}

/// Moves a file out of the way, and returns its new path.
pub(super) fn put_aside(path: &Path) -> Option<PathBuf> {
    let aside = path.with_extension("redb.unreadable");
    std::fs::rename(path, &aside).ok().map(|()| aside)
}

/// Runs a database operation and turns its panics into errors: the database trusts its file, and panics if that is
/// damaged.
fn guarded<T>(act: impl FnOnce() -> Result<T, JournalError>) -> Result<T, JournalError> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(JournalError::Panicked(text.to_owned()))
    })
}

impl Open {
    fn new(path: &Path) -> Result<Self, JournalError> {
        let failed = |error| JournalError::Open(path.to_owned(), error);
        // Inspections hold environments, and those hold secrets.
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let file = options.open(path).map_err(|error| failed(error.into()))?;
        let database = redb::Builder::new().set_cache_size(4 << 20).create_file(file).map_err(failed)?;
        let file = Stamp::of(path).ok_or(JournalError::Replaced)?;
        Ok(Self { database, file })
    }
}

fn remember(database: &Database) -> Result<Remembered, JournalError> {
    let mut remembered = Remembered::default();
    // Creates the tables, so that reading finds them.
    let transaction = database.begin_write().map_err(Box::new)?;
    let format = transaction.open_table(MARKS)?.get(FORMAT_MARK)?.map(|format| format.value());
    check_format(format)?;
    transaction.open_table(MARKS)?.insert(FORMAT_MARK, FORMAT)?;
    transaction.open_table(IDS)?;
    transaction.open_table(EVENTS)?;
    transaction.open_table(DELIVERIES)?;
    transaction.open_table(REPORTED)?;
    transaction.open_table(INSPECTIONS)?;
    transaction.commit()?;
    let transaction = database.begin_read().map_err(Box::new)?;
    for row in transaction.open_table(IDS)?.iter()? {
        let (seq, id) = row?;
        remembered.ids.insert(seq.value(), EventId(id.value().to_owned()));
    }
    let mut facts = BTreeMap::new();
    for row in transaction.open_table(EVENTS)?.iter()? {
        let (seq, value) = row?;
        let Some(row) = read::<EventRow>(value.value()) else {
            remembered.unreadable.insert(seq.value());
            continue;
        };
        let mut event = HandlerEvent::from(row);
        share(&mut event, &mut facts);
        remembered.events.insert(seq.value(), Arc::new(event));
    }
    for row in transaction.open_table(DELIVERIES)?.iter()? {
        let (key, value) = row?;
        let (handler, seq) = key.value();
        // An unreadable delivery is still due.
        let row = read::<DeliveryRow>(value.value()).unwrap_or_default();
        remembered.deliveries.insert((handler.to_owned(), seq), row);
    }
    for row in transaction.open_table(REPORTED)?.iter()? {
        let (id, value) = row?;
        let reported = read::<ReportedRow>(value.value()).map(LastReported::from);
        remembered.reported.extend(reported.map(|reported| (ContainerId::new(id.value()), reported)));
    }
    for row in transaction.open_table(INSPECTIONS)?.iter()? {
        let (id, value) = row?;
        let text = serde_json::from_slice::<Box<RawValue>>(value.value()).ok();
        let inspection = text.map(|text| (ContainerId::new(id.value()), Inspection(Arc::from(text))));
        remembered.inspections.extend(inspection);
    }
    let marks = transaction.open_table(MARKS)?;
    remembered.heard = marks.get(HEARD)?.map(|at| at.value());
    remembered.begun = marks.get(BEGUN)?.map(|at| at.value());
    Ok(remembered)
}

/// Parses a row; an unreadable row costs only itself.
fn read<R: Row>(value: &[u8]) -> Option<R> {
    R::read(value)
        .inspect_err(|error| tracing::warn!(%error, "skipping an unreadable row of the journal"))
        .ok()
}

/// Lets events of one container share its facts, as they did when received.
fn share(event: &mut HandlerEvent, known: &mut BTreeMap<ContainerId, Arc<ContainerFacts>>) {
    let EventSubject::Container(facts) = &mut event.subject else { return };
    let latest = known.entry(facts.id.clone()).or_insert_with(|| facts.clone());
    if latest == facts {
        *facts = latest.clone();
    } else {
        *latest = facts.clone();
    }
}

fn write(database: &Database, batch: &Batch) -> Result<(), JournalError> {
    let transaction = database.begin_write().map_err(Box::new)?;
    {
        let mut table = transaction.open_table(IDS)?;
        for (seq, id) in &batch.ids {
            match id {
                Some(id) => table.insert(seq, id.0.as_str())?,
                None => table.remove(seq)?,
            };
        }
        let mut table = transaction.open_table(EVENTS)?;
        for (seq, event) in &batch.events {
            match event {
                Some(event) => table.insert(seq, EventRow::from(&**event).bytes().as_slice())?,
                None => table.remove(seq)?,
            };
        }
        let mut table = transaction.open_table(DELIVERIES)?;
        for ((handler, seq), row) in &batch.deliveries {
            match row {
                Some(row) => table.insert((handler.as_str(), *seq), row.bytes().as_slice())?,
                None => table.remove((handler.as_str(), *seq))?,
            };
        }
        if batch.wipe {
            transaction.open_table(REPORTED)?.retain(|_, _| false)?;
            transaction.open_table(INSPECTIONS)?.retain(|_, _| false)?;
            let mut marks = transaction.open_table(MARKS)?;
            marks.remove(HEARD)?;
            marks.remove(BEGUN)?;
        }
        let mut table = transaction.open_table(REPORTED)?;
        for (id, reported) in &batch.reported {
            match reported {
                Some(reported) => {
                    table.insert(id.as_str(), ReportedRow::from(reported).bytes().as_slice())?
                }
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
        table.insert(FORMAT_MARK, FORMAT)?;
        if let Some(heard) = batch.heard {
            table.insert(HEARD, heard)?;
        }
        if let Some(begun) = batch.begun {
            table.insert(BEGUN, begun)?;
        }
    }
    Ok(transaction.commit()?)
}
