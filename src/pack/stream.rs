//! A plan into pack bytes.
/// Writes.
pub fn write_pack() {}
