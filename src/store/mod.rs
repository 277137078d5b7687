//! One repository on disk: refs, packs, loose objects, settings, quarantine, ref transactions; and the folder of them all.
//!
//! The floors above see storage through three things: [`Repositories`] (open, create, list by name
//! beneath a root), [`Snapshot`] (one consistent view, pinned when a request begins) and [`Push`]
//! (ingest into a quarantine, look at it, commit edits of refs). What lies on disk is an ordinary bare
//! git repository at every moment.
//!
//! | file | turns what into what |
//! |---|---|
//! | `map` | a file into bytes: the one place with unsafe code |
//! | `config` | git's configuration files and environment into one |
//! | `keys` | that into values by key |
//! | `settings`, `fetch_settings`, `push_settings`, `fsck_settings`, `hook_settings` | those into the values that this house honours; what only fetches look at, only pushes, only checks of pushes, only hooks |
//! | `format` | a repository's format into its hash, or a refusal by name |
//! | `discover` | the words of a drop-in's command line into a repository, by git's rules |
//! | `ref_files` | files beneath `refs`, and `HEAD`, into names and values |
//! | `refs`, `scan_refs` | those and `packed-refs` into [`Refs`] |
//! | `alternates` | what a repository borrows from into a list of object directories |
//! | `alternate_refs` | and into what the refs of those lead to |
//! | `loose` | the file of a loose object into its data |
//! | `pack_dir` | a folder of packs into names, multi-pack indexes and packs that are opened when needed |
//! | `companions` | bitmap and commit-graph files into what they say |
//! | `promised` | packs from a promisor into what may be missing because it was promised |
//! | `objects` | object directories into [`ObjectStore`] |
//! | `snapshot` | all of these into [`Snapshot`] |
//! | `stamp`, `held` | how files look from outside into a snapshot that is kept from one request to the next |
//! | `repositories` | names beneath a root into repositories |
//! | `in_use`, `listing` | who uses which of them; all their names, for many that ask at once |
//! | `relocate`, `trash` | another name for one of them; one that was deleted into a folder that is kept for a while |
//! | `staging` | a repository that is only being made into one in its place, or into nothing |
//! | `hook_objects` | what hooks wrote into a quarantine into the repository's objects |
//! | `flock` | an open file into a lock that is let go for certain |
//! | `turns` | threads that want one repository into a queue |
//! | `owner` | locks and quarantines that a dead process left into nothing |
//! | `journal` | a push into one durable, atomic step: the file `packmule-journal` |
//! | `quarantine` | pack bytes from a peer into a pack that nobody sees yet |
//! | `spares` | the emptied quarantine of one push into that of the next one |
//! | `loose_ref`, `packed_refs` | one ref, straight from disk, into its value; `packed-refs` without some refs |
//! | `ref_lock` | a staged file into a lock that the owner's record can prove |
//! | `reflog` | changes of refs into lines beneath `logs` |
//! | `ref_transaction` | edits of refs into files, old values compared under lock |
//! | `work_trees` | folders of work trees into the branches that are checked out there |
//! | `shallow_file` | commits whose parents stay away into the file `shallow` |
//! | `push` | the last four into [`Push`] |

mod alternate_refs;
mod alternates;
mod companions;
mod config;
mod discover;
mod error;
mod fetch_settings;
mod flock;
mod format;
mod fsck_settings;
mod held;
mod hook_objects;
mod hook_settings;
mod in_use;
mod journal;
mod keys;
mod listing;
mod loose;
mod loose_ref;
#[allow(unsafe_code)]
mod map;
mod objects;
mod owner;
mod pack_dir;
mod packed_refs;
mod promised;
mod push;
mod push_settings;
mod quarantine;
mod ref_files;
mod ref_lock;
mod ref_transaction;
mod reflog;
mod refs;
mod relocate;
mod repositories;
mod repository;
mod scan_refs;
mod settings;
mod shallow_file;
mod snapshot;
mod spares;
mod staging;
mod stamp;
#[cfg(test)]
mod testing;
mod trash;
mod turns;
mod work_trees;

pub use discover::{Discover, discover, discover_any_owner};
pub use error::Error;
pub use fetch_settings::{FetchSettings, FilterRules, PackfileUri, Promisor};
pub use fsck_settings::FsckSettings;
pub use held::HeldSnapshot;
pub use hook_settings::HookSettings;
pub use journal::checkpoint_idle;
pub use map::Mapped;
pub use objects::{MaySee, ObjectStore};
pub use owner::sweep;
pub use push::{CommitMode, Committed, Push, RefEdit, RefRefusal};
pub use push_settings::PushSettings;
pub use ref_transaction::{NoObserver, State as TransactionState, TransactionObserver};
pub use refs::{Head, Peeled, RefEntry, Refs, Target};
pub use repositories::{Found, Repositories, RepositoryName};
pub use repository::{ConfigScope, Repository};
pub use scan_refs::{ListedRef, RefText};
pub use settings::{DenyCurrent, LogRefs, Settings, Unborn};
pub use snapshot::Snapshot;
pub use spares::Spares;
pub use trash::Trashed;
pub use work_trees::WorkTrees;
