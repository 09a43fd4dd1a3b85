//! Data stored on disk or sent between hosts, in its own formats.
//!
//! A model type may gain, lose or rename a field, but files of earlier releases must stay readable, and hosts of
//! two neighbouring releases must understand each other. So model types are never serialized directly: each row
//! has its own type here, converted from and into the model, whose names never change and whose later fields have
//! defaults. Readers ignore unknown fields.
//!
//! Deliberately absent: where and when rows are stored (`longshore-delivery`) or sent (`longshore-cluster`), and
//! user-facing formats: the plugin protocol, webhooks and the HTTP API have specifications of their own.

pub mod call;
pub mod control;
pub mod facts;
pub mod journal;
pub mod relay;
