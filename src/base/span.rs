//! The words of the house's map as names of tracing spans and of metric labels: one clone or push in its stations.

/// A connection from its first byte to its last.
pub const CONNECTION: &str = "connection";
/// Who is there.
pub const AUTHENTICATE: &str = "authenticate";
/// What may they do.
pub const AUTHORISE: &str = "authorise";
/// Which repository is meant.
pub const LOCATE: &str = "locate";
/// One upload-pack request.
pub const UPLOAD_PACK: &str = "upload_pack";
/// One receive-pack request.
pub const RECEIVE_PACK: &str = "receive_pack";
/// Which commits are common.
pub const NEGOTIATE: &str = "negotiate";
/// Wants minus haves.
pub const WANT_HAVE: &str = "want_have";
/// Sizes of objects.
pub const OBJECT_INFO: &str = "object_info";
/// Each object's cheapest form.
pub const PLAN: &str = "plan";
/// Pack bytes to the peer.
pub const STREAM: &str = "stream";
/// Pack bytes from the peer into quarantine.
pub const INGEST: &str = "ingest";
/// Does every new tip reach only what is here.
pub const CONNECTIVITY: &str = "connectivity";
/// Refs change.
pub const REF_TRANSACTION: &str = "ref_transaction";
