//! Sockets: SSH. Limits, deadlines, graceful stop; bridges async sockets to the sync floors.
//!
//! | file | turns what into what |
//! |---|---|
//! | `server` | a driver, a host key and an address into a running [`Server`] |
//! | `limits` | numbers of `config.toml` into bounds: [`SshLimits`] |
//! | `host_key` | a file into the server's own key: [`HostKey`] |
//! | `audit` | logins, refusals and commands into lines of the audit log |
//! | `hangup` | the end of a peer into the end of all work for it |
//! | `places` | connections and commands into places that they hold or wait for, for each address and user |
//! | `penalties` | failed logins into time in which nobody from there is heard: [`PenaltySettings`] |
//! | `bridge` | async bytes of one channel into `Read` and `Write` of the engine, and back |
//! | `ssh` | one connection into commands and their answers |

mod audit;
mod bridge;
mod error;
mod hangup;
mod host_key;
mod limits;
mod penalties;
mod places;
mod server;
mod ssh;
#[cfg(test)]
mod tests;

pub use audit::AUDIT_TARGET;
pub(crate) use audit::json_string;
pub use error::Error;
pub use host_key::HostKey;
pub use limits::SshLimits;
pub use penalties::PenaltySettings;
pub use server::{Builder, Server, Stop};
