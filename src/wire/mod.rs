//! Bytes of the git protocol into typed values and back: no I/O beyond `Read` and `Write`, no repository.
//!
//! | file | turns what into what |
//! |---|---|
//! | `pkt` | bytes into pkt-lines and back |
//! | `capability` | the table of what is advertised and understood |
//! | `advertisement` | refs into the first answer of versions 0 and 1 |
//! | `command` | the head of a version 2 request into [`CommandHead`] |
//! | `ls_refs` | an `ls-refs` command and its answer |
//! | `filter` | a filter specification into [`Filter`] |
//! | `fetch_request` | a fetch of any version into one [`FetchRequest`] |
//! | `upload_archive` | the arguments of `git archive --remote` into one [`ArchiveRequest`] |
//! | `push_request`, `push_cert` | commands of a push, signed or not, into [`PushRequest`] |
//! | `report_status` | what became of them into the report |
//! | `side_band` | bytes into bands |

mod advertisement;
mod capability;
mod command;
mod error;
mod fetch_request;
mod filter;
mod ls_refs;
mod pkt;
mod push_cert;
mod push_request;
mod report_status;
mod side_band;
mod upload_archive;

pub use advertisement::{AdvertisedRef, Advertisement};
pub use capability::{Capabilities, agent};
pub use command::{CommandHead, read_command};
pub use error::Error;
pub use fetch_request::{
    AckMode, Bands, Deepen, FetchFeatures, FetchRequest, NegotiationLine, read_fetch_v0, read_fetch_v2, read_negotiation_line,
};
pub use filter::Filter;
pub use ls_refs::{LsRefs, LsRefsLine, add_ls_refs_text, read_ls_refs};
pub use pkt::{Pkt, PktReader, write_data, write_delim, write_error, write_flush, write_text};
pub use push_cert::{PushCertificate, SignatureFormat};
pub use push_request::{PushCommand, PushFeatures, PushRequest, read_push_request};
pub use report_status::{RefStatus, StatusOptions, write_report};
pub use side_band::{Band, SideBand};
pub use upload_archive::{ARCHIVE_FORMATS, ArchiveFormat, ArchiveOrder, ArchiveRequest, read_archive_request};
