//! Questions about reachability: which commits are common, which objects go out, is a push whole, is it a fast-forward.
//!
//! | file | turns what into what |
//! |---|---|
//! | `visible` | a view's refs and a gate's answer into [`VisibleRefs`]: the only way in which refs are seen here and in `serve` |
//! | `commit`, `tree` | bytes into a commit's links, a tree's entries |
//! | `commits` | ids into a table of commits; wants and haves into painted history |
//! | `cover` | a tree, and one that is covered already, into the objects between them |
//! | `edges` | both sides' trees, by path, into what the client has where anything is new |
//! | `changes` | two values of a ref into the paths that differ; a tip into what of its history is new |
//! | `filter`, `sparse` | a filter specification into [`ObjectFilter`]: kinds, depths, paths |
//! | `filtered` | trees, met in git's order, into what passes a filter about places |
//! | `bitmaps` | wanted commits into all that they reach, where git's bitmaps tell it |
//! | `scan` | most of a repository's root trees into all that they reach, cheaper than tree by tree |
//! | `want_have` | wants and haves into an [`crate::pack::ObjectSet`] |
//! | `negotiate` | haves into acknowledgements |
//! | `revision` | a name such as `main:file` into an object |
//! | `shallow` | both sides' boundaries and how far history shall go into the boundary of a fetch |
//! | `newest` | ids of trees and blobs into those that the newest trees of some tips name |
//! | `reach` | ids and tips into "reachable or not"; fast-forward |
//! | `connectivity`, `whole_trees` | the new tips of a push into "whole or not"; and whose fault it is |

mod bitmaps;
mod changes;
mod commit;
mod commits;
mod connectivity;
mod cover;
mod edges;
mod error;
mod filter;
mod filtered;
mod negotiate;
mod newest;
mod peel;
mod reach;
mod revision;
mod scan;
mod shallow;
mod sparse;
mod tree;
mod visible;
mod want_have;
mod whole_trees;

pub use changes::{ChangedPath, NewCommit, NewObjects, changed_paths, find_new_objects};
pub use connectivity::{Connected, Connections, EachObject, Known, Pushed, check_connected};
pub use error::Error;
pub use filter::{KindFilter, ObjectFilter, Places};
pub use negotiate::{Common, Negotiation};
pub use newest::{InNewest, find_in_newest, newest_trees_max};
pub use peel::peel;
pub use reach::{ReachableObjects, ReachedCommits, find_unreachable, is_ancestor};
pub use revision::{Named, find_named};
pub use shallow::{Boundaries, Boundary, Deepening, INFINITE_DEPTH, find_boundary};
pub use sparse::Patterns;
pub use visible::{Listed, VisibleHead, VisibleRef, VisibleRefs};
pub use want_have::{Enumeration, FetchSides, Missing, find_objects, find_objects_by};
