//! What pushes change, beside stock git: words, checks, refusals, hooks, promises, packs taken in.

#[path = "../common/mod.rs"]
mod common;

mod checks;
mod hooks;
mod ingest;
mod promised;
mod push_checks;
mod push_protocol;
mod refs_like_git;
mod refusals_like_git;
