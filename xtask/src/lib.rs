//! Shared by the tasks of `cargo xtask` and the workbench: running programs, paths, and the shipped binary.

#![allow(clippy::print_stdout, reason = "its output is for the person at the terminal")]

pub mod dist;
pub mod steps;
pub mod workspace;
