//! A fetch of any version into one immutable [`FetchRequest`].
//!
//! Source: gitprotocol-pack, "Packfile Negotiation"; gitprotocol-v2, "fetch". Version 2 sends everything at once;
//! in versions 0 and 1 the have lines come later, in rounds ([`read_negotiation_line`]). What was not advertised
//! ([`FetchFeatures`]) breaks the protocol when a client sends it.

use super::{Capabilities, Error, Filter, Pkt, PktReader};

use crate::base::limits::{DEEPEN_NOT_MAX, HAVES_MAX, SHALLOW_MAX, WANTS_MAX};
use bstr::{BString, ByteSlice};
use gix_hash::ObjectId;
use std::collections::HashSet;
use std::io::Read;

/// How common commits are acknowledged in versions 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum AckMode {
    /// The first common commit only.
    #[default]
    Single,
    /// `multi_ack`.
    Multi,
    /// `multi_ack_detailed`; what version 2 always does.
    Detailed,
}

/// How the pack travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Bands {
    /// Plain bytes.
    #[default]
    None,
    /// `side-band`.
    Small,
    /// `side-band-64k`; what version 2 always does.
    Large,
}

/// How far back the client wants history to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Deepen {
    /// As far as it has it already: whole, but for its shallow commits.
    #[default]
    No,
    /// `deepen`: this many commits from the wants; with `deepen-relative` from the client's present boundary.
    /// `i32::MAX` and more is everything: so git's `--unshallow` says it.
    Commits {
        /// At least 1.
        depth: u32,
        /// Counted from the client's shallow commits.
        relative: bool,
    },
    /// `deepen-since`, `deepen-not`: commits not older than this, and reachable from none of these refs.
    History {
        /// Seconds since 1970.
        since: Option<u64>,
        /// Names of refs as the client said them, not expanded.
        not: Vec<BString>,
    },
}

/// Which of the arguments that depend on a capability are understood: those that were advertised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchFeatures {
    /// `filter`.
    pub filter: bool,
    /// `ref-in-want` (version 2).
    pub ref_in_want: bool,
    /// `sideband-all` (version 2).
    pub sideband_all: bool,
    /// `packfile-uris` (version 2).
    pub packfile_uris: bool,
}

/// What a client wants, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FetchRequest {
    /// Ids of the objects wanted, in order, each once.
    pub wants: Vec<ObjectId>,
    /// Full names of the refs wanted (`want-ref`), in order, each once.
    pub want_refs: Vec<BString>,
    /// Commits whose parents the client does not have although they name some, in order, each once.
    pub shallow: Vec<ObjectId>,
    /// How far back history shall go.
    pub deepen: Deepen,
    /// What the client does without.
    pub filter: Option<Filter>,
    /// All sections of the answer travel in bands (`sideband-all`).
    pub sideband_all: bool,
    /// Protocols by which the client fetches packs itself (`packfile-uris`); none unless [`FetchRequest::sideband_all`].
    pub packfile_uris: Vec<BString>,
    /// The client has what is missing here from a promisor that was told it (`promisor-remote`).
    pub accepts_promised: bool,
    /// Ids that the client has: all of them in version 2, none yet before.
    pub haves: Vec<ObjectId>,
    /// The client will say no more haves: send the pack.
    pub done: bool,
    /// Do not send the pack before the client is done (version 2).
    pub wait_for_done: bool,
    /// How to acknowledge.
    pub ack_mode: AckMode,
    /// The pack may follow `ready` without waiting for done (`no-done`).
    pub no_done: bool,
    /// How the pack travels.
    pub bands: Bands,
    /// Deltas may name their base by distance.
    pub ofs_delta: bool,
    /// Deltas may lean on objects that the client has.
    pub thin_pack: bool,
    /// Annotated tags of objects that are sent go along.
    pub include_tag: bool,
    /// No progress, please.
    pub no_progress: bool,
    /// What the client calls itself.
    pub agent: Option<BString>,
    /// Its session's id.
    pub session_id: Option<BString>,
}

impl FetchRequest {
    /// Want `ids` too: what the refs wanted by name lead to.
    pub fn want_also(&mut self, ids: &[ObjectId]) {
        let mut known: HashSet<ObjectId> = self.wants.iter().copied().collect();
        self.wants.extend(ids.iter().filter(|id| known.insert(**id)));
    }
}

/// Read the wants of versions 0 and 1, up to their flush. `Ok(None)`: the client wants nothing.
pub fn read_fetch_v0<R: Read>(
    reader: &mut PktReader<R>,
    hash: gix_hash::Kind,
    features: FetchFeatures,
) -> Result<Option<FetchRequest>, Error> {
    let mut builder = Builder::new(hash);
    let (mut filters, mut relative) = (false, false);
    loop {
        let pkt = reader.expect()?;
        let line = match pkt {
            Pkt::Flush => break,
            Pkt::Data(_) => pkt.text().unwrap_or_default(),
            Pkt::Delim | Pkt::ResponseEnd => return Err(Error::protocol("expected wants, got a special packet")),
        };
        if let Some(want) = line.strip_prefix(b"want ") {
            let (id, words) = split_id(want, hash)?;
            if builder.request.wants.is_empty() {
                let chosen = Capabilities::parse(words);
                take_capabilities(&mut builder.request, &chosen);
                filters = features.filter && chosen.has("filter");
                relative = chosen.has("deepen-relative");
            }
            builder.want(id)?;
        } else if let Some(spec) = line.strip_prefix(b"filter ") {
            if !filters {
                return Err(Error::protocol("git upload-pack: filtering capability not negotiated"));
            }
            builder.filter(spec)?;
        } else if !builder.take_shallow_line(line)? {
            return Err(unexpected(line));
        }
    }
    builder.relative |= relative;
    let request = builder.finish()?;
    Ok((!request.wants.is_empty()).then_some(request))
}

fn take_capabilities(request: &mut FetchRequest, chosen: &Capabilities) {
    request.ack_mode = match (chosen.has("multi_ack_detailed"), chosen.has("multi_ack")) {
        (true, _) => AckMode::Detailed,
        (false, true) => AckMode::Multi,
        (false, false) => AckMode::Single,
    };
    request.bands = match (chosen.has("side-band-64k"), chosen.has("side-band")) {
        (true, _) => Bands::Large,
        (false, true) => Bands::Small,
        (false, false) => Bands::None,
    };
    request.no_done = chosen.has("no-done");
    request.ofs_delta = chosen.has("ofs-delta");
    request.thin_pack = chosen.has("thin-pack");
    request.include_tag = chosen.has("include-tag");
    request.no_progress = chosen.has("no-progress");
    request.agent = chosen.value("agent").map(Into::into);
    request.session_id = chosen.value("session-id").map(Into::into);
}

/// Read the arguments of version 2 that follow the delim packet, up to the flush.
pub fn read_fetch_v2<R: Read>(reader: &mut PktReader<R>, hash: gix_hash::Kind, features: FetchFeatures) -> Result<FetchRequest, Error> {
    let mut builder = Builder::new(hash);
    (builder.request.ack_mode, builder.request.bands) = (AckMode::Detailed, Bands::Large);
    loop {
        let pkt = reader.expect()?;
        let Some(line) = pkt.text() else {
            if pkt == Pkt::Flush {
                return builder.finish();
            }
            return Err(Error::protocol("expected flush after fetch arguments"));
        };
        if let Some(id) = line.strip_prefix(b"want ") {
            builder.want(whole_id(id, hash)?)?;
        } else if let Some(id) = line.strip_prefix(b"have ") {
            builder.have(whole_id(id, hash)?)?;
        } else if !builder.take_flag(line, features) && !builder.take_shallow_line(line)? {
            match line.split_once_str(" ") {
                Some((b"filter", spec)) if features.filter => builder.filter(spec)?,
                Some((b"want-ref", name)) if features.ref_in_want => builder.want_ref(name)?,
                Some((b"packfile-uris", protocols)) if features.packfile_uris => builder.packfile_uris(protocols)?,
                _ => return Err(unexpected(line)),
            }
        }
    }
}

/// A request as far as its lines have been read.
struct Builder {
    hash: gix_hash::Kind,
    request: FetchRequest,
    /// Ids that a client merely names: see `base::hash` for why no fast hasher serves here.
    wants: HashSet<ObjectId>,
    haves: HashSet<ObjectId>,
    shallow: HashSet<ObjectId>,
    depth: Option<u32>,
    relative: bool,
    since: Option<u64>,
    not: Vec<BString>,
}

impl Builder {
    fn new(hash: gix_hash::Kind) -> Self {
        let (wants, haves, shallow) = (HashSet::new(), HashSet::new(), HashSet::new());
        Self { hash, request: FetchRequest::default(), wants, haves, shallow, depth: None, relative: false, since: None, not: vec![] }
    }

    fn want(&mut self, id: ObjectId) -> Result<(), Error> {
        add_once(&mut self.request.wants, &mut self.wants, id, WANTS_MAX, "wants")
    }

    fn have(&mut self, id: ObjectId) -> Result<(), Error> {
        add_once(&mut self.request.haves, &mut self.haves, id, HAVES_MAX, "haves")
    }

    fn want_ref(&mut self, name: &[u8]) -> Result<(), Error> {
        if self.request.want_refs.iter().any(|known| known == name) {
            return Err(Error::protocol(format!("duplicate want-ref {}", name.as_bstr())));
        }
        self.request.want_refs.push(name.into());
        too_many(self.request.want_refs.len(), DEEPEN_NOT_MAX, "want-refs")
    }

    fn filter(&mut self, spec: &[u8]) -> Result<(), Error> {
        if self.request.filter.is_some() {
            return Err(Error::protocol("multiple filter-specs cannot be combined"));
        }
        self.request.filter = Some(Filter::parse(spec.as_bstr())?);
        Ok(())
    }

    fn packfile_uris(&mut self, protocols: &[u8]) -> Result<(), Error> {
        if !self.request.packfile_uris.is_empty() {
            return Err(Error::protocol("multiple packfile-uris lines forbidden"));
        }
        self.request.packfile_uris = protocols.split_str(",").map(Into::into).collect();
        Ok(())
    }

    /// A line that is one word; false when it is none of those.
    fn take_flag(&mut self, line: &[u8], features: FetchFeatures) -> bool {
        let request = &mut self.request;
        let flag = match line {
            b"done" => &mut request.done,
            b"wait-for-done" => &mut request.wait_for_done,
            b"thin-pack" => &mut request.thin_pack,
            b"no-progress" => &mut request.no_progress,
            b"include-tag" => &mut request.include_tag,
            b"ofs-delta" => &mut request.ofs_delta,
            b"deepen-relative" => &mut self.relative,
            b"sideband-all" if features.sideband_all => &mut request.sideband_all,
            _ => return false,
        };
        *flag = true;
        true
    }

    /// A line about the client's boundary or the one that it wants; false when it is none of those.
    fn take_shallow_line(&mut self, line: &[u8]) -> Result<bool, Error> {
        let invalid = |what: &str| Error::protocol(format!("Invalid {what}: {}", line.as_bstr()));
        match line.split_once_str(" ") {
            Some((b"shallow", id)) => {
                let id = whole_id(id, self.hash)?;
                add_once(&mut self.request.shallow, &mut self.shallow, id, SHALLOW_MAX, "shallow commits")?;
            }
            Some((b"deepen", depth)) => {
                let depth = number(depth).filter(|depth| *depth > 0).ok_or_else(|| invalid("deepen"))?;
                self.depth = Some(u32::try_from(depth).unwrap_or(u32::MAX));
            }
            Some((b"deepen-since", seconds)) => {
                self.since = Some(number(seconds).filter(|seconds| *seconds < u64::MAX).ok_or_else(|| invalid("deepen-since"))?);
            }
            Some((b"deepen-not", name)) => {
                self.not.push(name.into());
                too_many(self.not.len(), DEEPEN_NOT_MAX, "deepen-not lines")?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(mut self) -> Result<FetchRequest, Error> {
        let by_history = self.since.is_some() || !self.not.is_empty();
        self.request.deepen = match self.depth {
            Some(_) if by_history => {
                return Err(Error::protocol("git upload-pack: deepen and deepen-since (or deepen-not) cannot be used together"));
            }
            Some(depth) => Deepen::Commits { depth, relative: self.relative },
            None if by_history => Deepen::History { since: self.since, not: self.not },
            None => Deepen::No,
        };
        if !self.request.sideband_all {
            self.request.packfile_uris.clear();
        }
        Ok(self.request)
    }
}

fn add_once(ids: &mut Vec<ObjectId>, seen: &mut HashSet<ObjectId>, id: ObjectId, limit: usize, what: &'static str) -> Result<(), Error> {
    if seen.insert(id) {
        ids.push(id);
    }
    too_many(ids.len(), limit, what)
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.to_str().ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// One line of the negotiation of versions 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NegotiationLine {
    /// The client has this.
    Have(ObjectId),
    /// The round is over: answer.
    EndOfRound,
    /// The client has said all.
    Done,
    /// The client has closed its side.
    Closed,
}

/// Read one line of the negotiation.
pub fn read_negotiation_line<R: Read>(reader: &mut PktReader<R>, hash: gix_hash::Kind) -> Result<NegotiationLine, Error> {
    let Some(pkt) = reader.read()? else { return Ok(NegotiationLine::Closed) };
    let Some(line) = pkt.text() else {
        return if pkt == Pkt::Flush {
            Ok(NegotiationLine::EndOfRound)
        } else {
            Err(Error::protocol("expected SHA1 list, got a special packet"))
        };
    };
    if line == b"done" {
        return Ok(NegotiationLine::Done);
    }
    match line.strip_prefix(b"have ") {
        Some(id) => Ok(NegotiationLine::Have(whole_id(id, hash)?)),
        None => Err(Error::protocol(format!("expected SHA1 list, got '{}'", line.as_bstr()))),
    }
}

fn too_many(count: usize, limit: usize, what: &'static str) -> Result<(), Error> {
    if count > limit { Err(Error::Limit { what, limit }) } else { Ok(()) }
}

fn unexpected(line: &[u8]) -> Error {
    Error::protocol(format!("unexpected line: '{}'", line.as_bstr()))
}

fn whole_id(hex: &[u8], hash: gix_hash::Kind) -> Result<ObjectId, Error> {
    match split_id(hex, hash)? {
        (id, b"") => Ok(id),
        _ => Err(bad_id(hex)),
    }
}

/// An id, and what follows behind a space.
pub(super) fn split_id(line: &[u8], hash: gix_hash::Kind) -> Result<(ObjectId, &[u8]), Error> {
    let len = hash.len_in_hex();
    let id = line.get(..len).and_then(|hex| ObjectId::from_hex(hex).ok()).ok_or_else(|| bad_id(line))?;
    match &line[len..] {
        b"" => Ok((id, b"")),
        [b' ', rest @ ..] => Ok((id, rest)),
        _ => Err(bad_id(line)),
    }
}

fn bad_id(line: &[u8]) -> Error {
    Error::protocol(format!("expected an object id, got '{}'", line[..line.len().min(80)].as_bstr()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{write_flush, write_text};
    use gix_hash::Kind::Sha1;

    fn packets(lines: &[&str]) -> Vec<u8> {
        let mut bytes = vec![];
        for line in lines {
            write_text(&mut bytes, line).expect("memory");
        }
        write_flush(&mut bytes).expect("memory");
        bytes
    }

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn both_generations_fill_one_type() {
        let v0 = packets(&[
            &format!("want {A} multi_ack_detailed side-band-64k ofs-delta agent=git/2"),
            &format!("want {B}"),
            &format!("want {A}"),
        ]);
        let v2 = packets(&["ofs-delta", &format!("want {A}"), &format!("want {B}"), &format!("have {B}"), "done"]);
        let first = read_fetch_v0(&mut PktReader::new(&v0[..]), Sha1, FetchFeatures::default()).expect("legal").expect("wants");
        let second = read_fetch_v2(&mut PktReader::new(&v2[..]), Sha1, FetchFeatures::default()).expect("legal");
        assert_eq!(first.wants, second.wants);
        assert_eq!((first.ack_mode, first.bands, first.ofs_delta), (second.ack_mode, second.bands, second.ofs_delta));
        assert_eq!((second.haves.len(), second.done, first.done), (1, true, false));
    }

    #[test]
    fn a_client_that_wants_nothing_is_understood() {
        assert_eq!(read_fetch_v0(&mut PktReader::new(&b"0000"[..]), Sha1, FetchFeatures::default()).expect("legal"), None);
        let gone = read_fetch_v0(&mut PktReader::new(&b""[..]), Sha1, FetchFeatures::default());
        assert!(matches!(gone, Err(Error::HungUp)), "one that only goes away is not: {gone:?}");
    }

    const ALL: FetchFeatures = FetchFeatures { filter: true, ref_in_want: true, sideband_all: true, packfile_uris: true };

    fn read_v2(lines: &[&str], features: FetchFeatures) -> Result<FetchRequest, String> {
        read_fetch_v2(&mut PktReader::new(&packets(lines)[..]), Sha1, features).map_err(|err| err.to_string())
    }

    fn read_v0(lines: &[&str], features: FetchFeatures) -> Result<Option<FetchRequest>, String> {
        read_fetch_v0(&mut PktReader::new(&packets(lines)[..]), Sha1, features).map_err(|err| err.to_string())
    }

    #[test]
    fn what_was_not_advertised_is_refused_by_name() {
        let optional = ["filter blob:none", "want-ref refs/heads/main", "sideband-all", "packfile-uris https"];
        for line in optional {
            let refusal = read_v2(&[line], FetchFeatures::default()).expect_err(line);
            assert_eq!(refusal, format!("protocol error: unexpected line: '{line}'"));
            read_v2(&[line], ALL).expect(line);
        }
        for line in ["want xyz", "want aaaa", "shallow xyz", "deepen 0", "deepen x", "deepen-since x", "deepen -1", "nonsense"] {
            assert!(read_v2(&[line], ALL).is_err(), "{line}");
            assert!(read_v0(&[&format!("want {A} side-band"), line], ALL).is_err(), "{line}");
        }
        let refusal = read_v0(&[&format!("want {A} side-band"), "filter blob:none"], ALL).expect_err("not chosen");
        assert!(refusal.contains("filtering capability not negotiated"), "{refusal}");
    }

    #[test]
    fn boundaries_and_filters_are_the_same_in_both_generations() {
        let shallow = format!("shallow {B}");
        let v0 = read_v0(&[&format!("want {A} deepen-relative filter"), &shallow, &shallow, "deepen 3", "filter tree:1"], ALL);
        let v0 = v0.expect("legal").expect("wants");
        let v2 = read_v2(&[&format!("want {A}"), "filter tree:1", "deepen-relative", "deepen 3", &shallow, "done"], ALL).expect("legal");
        assert_eq!(v0.shallow.len(), 1);
        assert_eq!((&v0.shallow, &v0.deepen, &v0.filter), (&v2.shallow, &v2.deepen, &v2.filter));
        assert_eq!(v2.deepen, Deepen::Commits { depth: 3, relative: true });
        let history = read_v2(&["deepen-since 1700000000", "deepen-not v1", "deepen-not refs/tags/v2"], ALL).expect("legal");
        assert_eq!(history.deepen, Deepen::History { since: Some(1_700_000_000), not: vec!["v1".into(), "refs/tags/v2".into()] });
    }

    #[test]
    fn arguments_that_contradict_each_other_are_refused() {
        for lines in [
            &["deepen 1", "deepen-since 5"][..],
            &["filter blob:none", "filter tree:0"],
            &["want-ref refs/heads/a", "want-ref refs/heads/a"],
            &["packfile-uris https", "packfile-uris http"],
        ] {
            assert!(read_v2(lines, ALL).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn packfile_uris_count_only_where_all_is_in_bands() {
        assert!(read_v2(&["packfile-uris https,http"], ALL).expect("legal").packfile_uris.is_empty());
        assert_eq!(read_v2(&["packfile-uris https,http", "sideband-all"], ALL).expect("legal").packfile_uris, ["https", "http"]);
    }
}
