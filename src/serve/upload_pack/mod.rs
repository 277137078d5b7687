//! A fetch or clone: from the advertisement to the last byte of the pack.
//!
//! Source: gitprotocol-pack, "Fetching Data From a Server"; gitprotocol-v2. Versions 0 and 1 are in `v0`, version 2
//! in `v2`; both make one [`crate::wire::FetchRequest`], which `send` answers. `capabilities` is the table of all that is
//! offered.

mod bundle_uri;
mod capabilities;
mod ls_refs;
mod made_pack;
mod may_filter;
mod may_want;
mod object_filter;
mod object_info;
mod packfile_uris;
mod promisor;
mod send;
mod shallow;
mod v0;
mod v2;
mod want_ref;

use super::attend::{Listening, attend};
use super::shared::{Made, Shareable};
use super::visible::visible_refs;
use super::{Error, Gate, Options, Protocol};
use crate::base::{Cancel, Progress};
use crate::pack;
use crate::store::{Repository, Snapshot};
use crate::walk::VisibleRefs;
use crate::wire::{Band, PktReader, SideBand, write_data, write_delim, write_error, write_flush};
use std::io::{Read, Write};

/// What one request did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchStatistics {
    /// Objects sent.
    pub objects: u64,
    /// Pack bytes sent.
    pub pack_bytes: u64,
}

/// Serve one conversation. What the peer must hear, an error included, has been written when this returns.
///
/// # Errors
/// What ended the conversation before its end; the peer has been told what [`Error::for_peer`] gives.
pub fn upload_pack(
    repository: &Repository,
    gate: &dyn Gate,
    options: &Options,
    input: impl Read + Send,
    mut output: impl Write,
    cancel: &Cancel,
) -> Result<FetchStatistics, Error> {
    let mut input = Listening::new(input, cancel);
    let out: &mut dyn Write = &mut output;
    let snapshot = match options.snapshot(repository) {
        Ok(snapshot) => snapshot,
        Err(err) => return Err(tell(out, err.into(), Voice::Line)),
    };
    if snapshot.settings().fetch.has_pack_objects_hook {
        tracing::warn!("uploadpack.packObjectsHook is set; it is never run");
    }
    let refs = visible_refs(&snapshot, gate, &snapshot.settings().upload_hide_refs);
    let mut conversation = Conversation {
        snapshot: &snapshot,
        refs: &refs,
        options,
        reader: PktReader::new(&mut input),
        out,
        cancel,
        voice: Voice::Line,
        all_in_bands: false,
        accepts_promised: false,
        statistics: FetchStatistics::default(),
    };
    let outcome = match options.protocol {
        Protocol::V0 | Protocol::V1 => v0::serve(&mut conversation),
        Protocol::V2 => v2::serve(&mut conversation),
    };
    match outcome.and_then(|()| Ok(conversation.out.flush()?)) {
        Ok(()) => Ok(conversation.statistics),
        Err(err) => Err(tell(conversation.out, name_promise(err, &snapshot), conversation.voice)),
    }
}

/// How the peer listens at this moment.
#[derive(Clone, Copy)]
enum Voice {
    /// To pkt-lines.
    Line,
    /// To bands.
    Bands,
    /// To pack bytes alone: there is nothing to say that it could tell from them.
    Nothing,
}

/// One client and the view that it is served from.
struct Conversation<'a> {
    snapshot: &'a Snapshot,
    refs: &'a VisibleRefs,
    options: &'a Options,
    reader: PktReader<&'a mut dyn Read>,
    out: &'a mut dyn Write,
    cancel: &'a Cancel,
    voice: Voice,
    /// Every line of an answer travels in a band (`sideband-all`).
    all_in_bands: bool,
    /// The client has what is missing here from a promisor that it was told of.
    accepts_promised: bool,
    statistics: FetchStatistics,
}

/// Bytes that answer a question about refs.
struct Answer(Vec<u8>);

impl Shareable for Answer {
    fn held_bytes(&self) -> usize {
        self.0.len()
    }
}

impl Conversation<'_> {
    /// Write what `write` writes, which is made `from` nothing else: what is kept of it, where something is.
    fn answer(&mut self, from: Made, write: impl FnOnce(&mut dyn Write) -> Result<(), Error>) -> Result<(), Error> {
        // An answer is about as long as the refs are.
        match self.options.shared.as_deref().filter(|shared| shared.has_room_for(self.snapshot.refs().held_bytes())) {
            None => write(&mut *self.out),
            Some(shared) => {
                let make = || {
                    let mut bytes = vec![];
                    write(&mut bytes)?;
                    bytes.shrink_to_fit();
                    Ok(Answer(bytes))
                };
                let (answer, _) = shared.get_or_make(from, self.cancel, make)?;
                Ok(self.out.write_all(&answer.0)?)
            }
        }
    }

    /// Do `work`, which may take long before a pack is due, with signs of life where the peer can hear them: only
    /// `sideband-all` lets a server say something then (gitprotocol-v2, "sideband-all").
    fn attended<T: Send>(&mut self, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
        if !self.all_in_bands {
            return work();
        }
        let keepalive_ms = self.keepalive_ms();
        let mut bands = SideBand::large(&mut *self.out);
        bands.keep_alive_on(Band::Progress);
        attend(&mut bands, &Progress::new(), true, keepalive_ms, self.cancel, work)
    }

    /// Write one line of a section of an answer.
    fn line(&mut self, text: impl AsRef<[u8]>) -> Result<(), Error> {
        self.data(&[text.as_ref(), b"\n"].concat())
    }

    /// Write one line of a section of an answer as it is.
    fn data(&mut self, text: &[u8]) -> Result<(), Error> {
        match self.all_in_bands {
            true => write_data(&mut self.out, &[&[Band::Data as u8], text].concat())?,
            false => write_data(&mut self.out, text)?,
        }
        Ok(())
    }

    /// Write what stands between two sections.
    fn delim(&mut self) -> Result<(), Error> {
        Ok(write_delim(&mut self.out)?)
    }

    /// Write what stands behind the last section.
    fn end(&mut self) -> Result<(), Error> {
        Ok(write_flush(&mut self.out)?)
    }

    /// Milliseconds of silence after which a keep-alive is due; 0: never.
    fn keepalive_ms(&self) -> u64 {
        let seconds = self.snapshot.settings().fetch.keep_alive_s;
        seconds.map_or(self.options.keepalive_ms, |seconds| seconds.saturating_mul(1_000))
    }

    fn hash(&self) -> gix_hash::Kind {
        self.snapshot.hash_kind()
    }
}

/// In a partial clone an object that is missing is no damage: it can be had where the clone came from. Nothing is fetched here
/// while somebody fetches from here; nor does git (`GIT_NO_LAZY_FETCH` in `upload-pack.c`).
fn name_promise(err: Error, snapshot: &Snapshot) -> Error {
    match err {
        Error::Pack(pack::Error::Missing(id)) if snapshot.objects().is_promised_some() => Error::Refused(format!(
            "this repository is a partial clone and lacks object {id}; clone with a filter, clone from where it came from, \
             or have its administrator run 'git fetch --refetch --no-filter' in it"
        )),
        err => err,
    }
}

fn tell(mut out: &mut dyn Write, err: Error, voice: Voice) -> Error {
    if let Some(sentence) = err.for_peer() {
        // The peer may be gone: the error at hand matters more than that it could not be told.
        let _ = match voice {
            Voice::Line => write_error(&mut out, &sentence),
            Voice::Bands => SideBand::large(&mut out).say(Band::Error, format!("{sentence}\n").as_bytes()),
            Voice::Nothing => Ok(()),
        };
        let _ = out.flush();
    }
    err
}
