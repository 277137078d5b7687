//! One request from its first packet to its last: [`upload_pack`], [`receive_pack`] and [`upload_archive`]. Knows a [`Gate`], never a user.
//!
//! upload-pack and receive-pack are named from the server's side: the first sends a pack to a client
//! that fetches, the second takes one from a client that pushes.

mod attend;
mod changes;
mod error;
mod gate;
mod hooks;
mod receive_pack;
mod session;
mod shared;
mod switch;
mod upload_archive;
mod upload_pack;
mod visible;

pub use changes::{Changes, ChangesError};
pub use error::Error;
pub use gate::{EditKind, Gate, OpenGate, Proposal, ProposedEdit, Verdict, Visibility};
pub use hooks::{HookFolder, HookOptions, plain_environment};
pub use receive_pack::{PushStatistics, RefusedCommand, receive_pack};
pub use session::{Certificates, Defaults, Options, Protocol, Service, Wants};
pub use shared::{SharedState, SharedStatistics};
pub use upload_archive::{ArchiveStatistics, upload_archive};
pub use upload_pack::{FetchStatistics, upload_pack};
