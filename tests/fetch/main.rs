//! What fetches send, beside stock git: sets of objects, filters, cuts of history, damaged and odd repositories, sharing.

#[path = "../common/mod.rs"]
mod common;

mod archive;
mod collisions;
mod companions;
mod enumeration;
mod exact_fetches;
mod exact_filters;
mod exact_sets;
mod mixed_clients;
mod odd_objects;
mod shallow_sets;
mod shallow_visible;
mod transcripts;
