//! Deltas both ways: a base and a delta into an object, a base and an object into a delta.
//!
//! | file | turns what into what |
//! |---|---|
//! | `apply` | a base and a delta into an object |
//! | `encode` | copies and literals into the bytes of a delta |
//! | `search` | a base and an object into the copies and literals between them: [`BlockIndex`] |

mod apply;
mod encode;
mod search;

pub use apply::{Delta, DeltaOp, apply_delta, delta_sizes};
pub use search::BlockIndex;
