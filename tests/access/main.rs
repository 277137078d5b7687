//! Who comes in and what they may do: the drivers, the door and the SSH server before them, with real clients.

#[path = "../common/mod.rs"]
mod common;

mod api_server;
mod audit;
mod catalogue;
mod changes;
mod commands;
mod editing;
mod embed;
mod files;
mod http;
mod identity;
mod import;
mod in_memory;
mod logins;
mod model;
mod paths;
mod penalties;
mod rules;
