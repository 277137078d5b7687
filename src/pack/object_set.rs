//! Which objects go out.

/// Filled by `walk`, read by `plan`.
#[derive(Debug, Default)]
pub struct ObjectSet;
