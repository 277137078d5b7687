//! What every floor needs: limits, cancel flag, progress counters, clock and calendar, span names. Nothing about git.

mod calendar;
mod cancel;
mod clock;
mod hash;
pub mod limits;
mod progress;
pub mod span;

pub use calendar::Moment;
pub use cancel::{Cancel, Cancelled};
pub use clock::{Clock, ManualClock, SystemClock};
pub use hash::{FastHasher, FastMap, FastSet};
pub use progress::{Phase, Progress};
