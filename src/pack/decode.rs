//! Locations into whole objects, with a bounded cache.
/// Decodes.
pub struct Decoder;
