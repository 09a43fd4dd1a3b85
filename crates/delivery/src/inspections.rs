//! The inspections that handlers receive.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use longshore_model::ContainerFacts;
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

/// Maximum number of events whose inspections are kept for pending deliveries.
const MAX_CELLS: usize = 1024;

/// A container's inspection, fetched once for all that need it.
pub(crate) type InspectionCell = Arc<OnceCell<Option<Arc<RawValue>>>>;

/// The inspections of the latest events; limited, as a handler may fail for days.
#[derive(Debug, Default)]
pub(crate) struct InspectionCells {
    cells: BTreeMap<u64, InspectionCell>,
    order: VecDeque<u64>,
}

impl InspectionCells {
    /// Returns the cell of this event.
    pub(crate) fn of(&mut self, seq: u64) -> InspectionCell {
        if let Some(cell) = self.cells.get(&seq) {
            return cell.clone();
        }
        self.order.push_back(seq);
        if self.order.len() > MAX_CELLS
            && let Some(oldest) = self.order.pop_front()
        {
            self.cells.remove(&oldest);
        }
        self.cells.entry(seq).or_default().clone()
    }

    /// Drops the inspection of an event that is no longer needed.
    pub(crate) fn remove(&mut self, seq: u64) {
        if self.cells.remove(&seq).is_some() {
            self.order.retain(|other| *other != seq);
        }
    }
}

/// Returns an inspection without the values of the container's environment, for readers that may not see them.
pub(crate) fn without_values(inspection: &RawValue) -> Option<Arc<RawValue>> {
    let mut inspection: serde_json::Value = serde_json::from_str(inspection.get()).ok()?;
    let variables = inspection.pointer_mut("/Config/Env").and_then(serde_json::Value::as_array_mut);
    for variable in variables.into_iter().flatten() {
        let name = variable.as_str().and_then(|pair| pair.split('=').next()).unwrap_or_default();
        *variable = format!("{name}=…").into();
    }
    serde_json::value::to_raw_value(&inspection).ok().map(Arc::from)
}

/// Returns an outline, in the shape of an inspection, of a container that Docker no longer has.
pub(crate) fn outline(facts: &ContainerFacts) -> Option<Arc<RawValue>> {
    let outline = serde_json::json!({
        "Id": facts.id,
        "Name": format!("/{}", facts.name),
        "Config": { "Image": facts.image, "Labels": facts.labels },
    });
    serde_json::value::to_raw_value(&outline).ok().map(Arc::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Arc<RawValue> {
        Arc::from(RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn an_inspection_is_shown_without_the_values_of_its_environment() {
        let inspection = raw(r#"{"Id":"ab","Config":{"Env":["PASSWORD=hunter2","EMPTY"],"Image":"db"}}"#);
        let shown = without_values(&inspection).unwrap();
        assert_eq!(shown.get(), r#"{"Config":{"Env":["PASSWORD=…","EMPTY=…"],"Image":"db"},"Id":"ab"}"#);
    }

    #[test]
    fn the_inspections_of_the_last_events_are_kept() {
        let mut cells = InspectionCells::default();
        let first = cells.of(1);
        assert!(Arc::ptr_eq(&first, &cells.of(1)));
        (2..=MAX_CELLS as u64).for_each(|seq| drop(cells.of(seq)));
        assert!(Arc::ptr_eq(&first, &cells.of(1)));
        cells.of(u64::MAX);
        assert!(!Arc::ptr_eq(&first, &cells.of(1)));
        cells.remove(3);
        assert_eq!(cells.cells.len(), cells.order.len());
    }
}
