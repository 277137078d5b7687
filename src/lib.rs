//! packmule: a git server in one static binary that never starts a `git` process.
//!
//! This page is the map of the house. Below are its floors; a floor may use itself and those above it in the table,
//! never one below it. `tests/house.rs` holds that, and what else a reader relies on.
//!
//! | floor | turns what into what | async? |
//! |---|---|---|
//! | [`base`] | what every floor needs: limits, cancel flag, progress counters, clock, span names; nothing about git | |
//! | [`wire`] | bytes of the git protocol into typed values and back | |
//! | [`pack`] | pack data and its companions: entries, deltas, plan → stream, stream → index; over the trait [`pack::Objects`] | |
//! | [`store`] | one repository on disk: snapshots of refs and packs, quarantine, ref transaction; and the folder of them all | |
//! | [`walk`] | questions about reachability: negotiation, wants minus haves, connectivity, fast-forward | |
//! | [`tend`] | maintenance in process; empty as yet | |
//! | [`serve`] | one request from its first packet to its last; knows a [`serve::Gate`], never a user | |
//! | [`access`] | who are you, what may you do, what repository is this path: [`access::Driver`] | yes |
//! | [`transport`] | sockets: SSH; bridges async sockets to the sync floors | yes |
//! | [`cli`] | words and settings: commands, `config.toml`, errors for people | yes |
//!
//! # One clone
//!
//! ```text
//! transport/ssh → access (authenticate, user, authorise, locate) → serve/upload_pack (v0 or v2)
//!   → wire/fetch_request → walk/negotiate → walk/want_have → pack/plan → pack/stream → wire/side_band → transport/ssh
//! ```
//!
//! [`transport::Server`] takes a connection, asks the driver, and hands the channel as `Read` and `Write` to
//! [`serve::upload_pack`] on a blocking thread. That pins one [`store::Snapshot`], sees its refs only through
//! [`walk::VisibleRefs`], and reads the client's words into one immutable [`wire::FetchRequest`], whatever the protocol
//! version; one table of capabilities says what is offered and what is served. [`walk::Negotiation`] finds what is
//! common, [`walk::find_boundary`] where history shall end, and [`walk::find_objects`] fills a [`pack::Found`]: from
//! git's bitmaps where there are some, by one reading of all trees in the order of their deltas where most of a
//! repository is wanted, else by differences of trees; less what an [`walk::ObjectFilter`] leaves out. [`pack::PackPlan`]
//! chooses each object's cheapest form (as stored, against what the client has, a delta searched anew, whole), and
//! [`pack::write_pack`] streams stored bytes straight from the map. While set and plan are made, the thread that owns
//! the peer shows progress and keeps the connection alive. In a server, [`serve::SharedState`] keeps within a bound what
//! identical requests need: ref advertisements, what visible refs reach, plans.
//!
//! # One push
//!
//! ```text
//! transport/ssh → access → serve/receive_pack → wire/push_request → store/quarantine → pack/index → walk/connectivity
//!   → Gate → serve/hooks → store/ref_transaction → store/journal → wire/report_status → transport/ssh
//! ```
//!
//! [`serve::receive_pack`] reads a [`wire::PushRequest`] and begins a [`store::Push`]: [`pack::index::ingest`] streams the
//! pack into a quarantine that nobody else sees, [`walk::check_connected`] asks whether the new tips are whole, and the
//! [`serve::Gate`] judges all edits at once (for whom it hides refs, the push sees only what the others reach:
//! [`store::Push::see_only`]); then the hooks do, where they are on and there ([`serve::HookOptions`]).
//! [`store::Push::commit`] locks the refs, compares their old values, moves the
//! pack in, and writes all of it into the repository's journal, whose one sync makes it durable and, for readers, one
//! step; then the refs change in their files, and only then is it reported. A repository that does not
//! exist is staged aside ([`store::Repositories::stage`]) and moved into place by the push that makes it.
//!
//! What SSH offers besides (`info`, `why`, `create`, `delete` and the like) goes through the same callbacks and then to
//! [`store::Repositories`], which moves no repository away from under a command.
//!
//! The same engines run on standard input and output: `packmule upload-pack` and `packmule receive-pack`.
//!
//! # Seams
//!
//! - [`access::Driver`]: four callbacks for people who embed packmule; [`access::rules`] holds the driver that follows `config.toml`,
//!   [`access::files`] the one for GitServerGlue's files, [`access::http`] those that ask an API server.
//!   A transport asks them through an [`access::Door`].
//! - [`serve::Gate`]: what the sync floors know of them.
//! - [`store::Repositories`], [`store::Snapshot`], [`store::Push`]: storage as the upper floors see it.
//! - [`pack::PackBytes`]: "I am about to touch these bytes", for packs that are not on the local disk.
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
