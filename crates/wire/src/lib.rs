//! What lies on a disk, in a form of its own.
//!
//! A model type may gain a field, lose one or change its name; what an earlier release wrote must be read all the same.
//! So nothing of the model is serialized as it is: each row has a type here, converted from and into the model, whose
//! names never change and whose later fields have defaults. A reader ignores fields that it does not know.
//!
//! Deliberately absent: where rows are kept and when (`longshore-delivery`), and what users read: the plugin protocol,
//! webhooks and the HTTP API are interfaces with specifications of their own.

pub mod journal;
