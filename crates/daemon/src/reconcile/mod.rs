//! What keeps the outside like World: each reconciler is woken by changes and compares the whole.

mod checks;
mod routes;

pub(crate) use checks::Checks;
pub(crate) use routes::{Due, RouteEvents, RouteReconciler, Routes};
