//! packmule: a git server in one static binary that never starts a `git` process.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod access;
pub mod base;
pub mod cli;
pub mod pack;
pub mod serve;
pub mod store;
pub mod tend;
pub mod transport;
pub mod walk;
pub mod wire;
