//! Files of what an authority took back into a yes or no for one certificate or key.
//!
//! Read are both forms of ssh-keygen(1), "KEY REVOCATION LISTS". The text: `serial: 7`, `serial: 10-20`, `id: NAME`, `key: LINE OF A .pub
//! FILE` (`sha1:` and `sha256:` mean the same), `hash: SHA256:...`, or just the line of a `.pub` file; `#` begins a comment.
//! And what `ssh-keygen -k` makes of it (OpenSSH's `PROTOCOL.krl`); signatures in it are passed over, as ssh does now, and a
//! critical extension refuses the list. What cannot be read to its last byte is not read at all; only where the binary form was cut off
//! between two sections nothing tells. Serial numbers and ids of the text are those of the authority whose list it is, those
//! of the binary form of the authority that stands in it; a key is the one in the certificate, or the authority's own.

use crate::access::{Certificate, PublicKey, printable};
use sha1::Digest as _;
use std::collections::HashSet;
use std::path::Path;

const MAGIC: &[u8] = b"SSHKRL\n\0";
const FORMAT_VERSION: u32 = 1;

/// What one authority took back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Revoked {
    of_authorities: Vec<OfAuthority>,
    /// SHA-256 of keys, as `ssh-keygen -l` shows it.
    fingerprints: HashSet<String>,
    /// SHA-1 of keys, as bytes.
    sha1s: HashSet<[u8; 20]>,
}

/// Certificates of one authority.
#[derive(Debug, Default, PartialEq, Eq)]
struct OfAuthority {
    /// Its key, as it is on the wire; none: whichever has this list.
    key: Option<Vec<u8>>,
    /// From, to, both included.
    serials: Vec<(u64, u64)>,
    /// The serial number of the lowest bit, and bits from the highest down.
    bitmaps: Vec<(u64, Vec<u8>)>,
    ids: HashSet<String>,
}

impl Revoked {
    /// Read the whole file, or say why not.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        if bytes.is_empty() {
            return Err(format!("{} is empty: a list that takes nothing back has a comment at least (# nothing yet)", file.display()));
        }
        if bytes.starts_with(MAGIC) {
            return Self::of_binary(&bytes[MAGIC.len()..]).map_err(|why| format!("{}: {why}", file.display()));
        }
        let text = String::from_utf8(bytes).map_err(|_| format!("{}: not text", file.display()))?;
        let mut revoked = Self { of_authorities: vec![OfAuthority::default()], ..Self::default() };
        for (at, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
            if !line.is_empty() && !line.starts_with('#') {
                revoked.line(line).map_err(|why| format!("{}:{at}: {why}", file.display()))?;
            }
        }
        Ok(revoked)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(':').map_or(("key", line), |(word, rest)| (word, rest.trim()));
        match (word.trim(), &mut self.of_authorities[..]) {
            ("serial", [own, ..]) => {
                let (from, to) = rest.split_once('-').unwrap_or((rest, rest));
                let serials = (number(from)?, number(to)?);
                if serials.0 > serials.1 {
                    return Err(format!("the range {rest} is backwards"));
                }
                own.serials.push(serials);
            }
            ("id", [own, ..]) => {
                own.ids.insert(rest.to_owned());
            }
            ("hash", _) if rest.starts_with("SHA256:") => {
                self.fingerprints.insert(rest.trim_end_matches('=').to_owned());
            }
            ("key" | "sha1" | "sha256", _) => {
                let key = PublicKey::from_openssh(rest).map_err(|error| error.to_string())?;
                self.fingerprints.insert(key.fingerprint());
            }
            // The comment of a key may hold a colon.
            _ if PublicKey::from_openssh(line).is_ok() => return self.line(&format!("key: {line}")),
            (other, _) => return Err(format!("'{}' is nothing that can be revoked", printable(other))),
        }
        Ok(())
    }

    /// `PROTOCOL.krl`, behind the magic.
    fn of_binary(bytes: &[u8]) -> Result<Self, String> {
        let mut list = Bytes(bytes);
        let version = list.u32()?;
        if version != FORMAT_VERSION {
            return Err(format!("a revocation list of version {version}, and {FORMAT_VERSION} is known"));
        }
        // Its own number, when it was made, flags; a reserved word and a comment.
        for _ in 0..3 {
            list.u64()?;
        }
        for _ in 0..2 {
            list.string()?;
        }
        let mut revoked = Self::default();
        while !list.is_empty() {
            let kind = list.u8()?;
            let mut section = list.string()?;
            match kind {
                1 => revoked.of_authorities.push(OfAuthority::of_section(section)?),
                2 => {
                    while !section.is_empty() {
                        let key = PublicKey::from_bytes(section.string()?.0).map_err(|error| error.to_string())?;
                        revoked.fingerprints.insert(key.fingerprint());
                    }
                }
                3 => {
                    while !section.is_empty() {
                        let hash = section.string()?.0.try_into().map_err(|_| "a SHA-1 that is none")?;
                        revoked.sha1s.insert(hash);
                    }
                }
                4 => {}
                5 => {
                    while !section.is_empty() {
                        let hash = section.string()?.0.try_into().map_err(|_| "a SHA-256 that is none")?;
                        revoked.fingerprints.insert(PublicKey::fingerprint_from(hash));
                    }
                }
                255 => section.extension()?,
                other => return Err(format!("a section of the unknown kind {other}")),
            }
        }
        Ok(revoked)
    }

    /// Whether this key counts no more.
    pub(super) fn holds_key(&self, key: &PublicKey) -> bool {
        let is_sha1 = || self.sha1s.contains(&<[u8; 20]>::from(sha1::Sha1::digest(key.to_bytes())));
        !self.fingerprints.is_empty() && self.fingerprints.contains(&key.fingerprint()) || !self.sha1s.is_empty() && is_sha1()
    }

    /// Why `shown` counts no more, if so; `is_own`: this is the list of its authority.
    pub(super) fn holds(&self, shown: &Certificate, is_own: bool) -> Option<&'static str> {
        let authority = shown.authority.to_bytes();
        let own = || self.of_authorities.iter().filter(|of| of.key.as_ref().map_or(is_own, |key| *key == authority));
        // Serial number 0 is that of all which were not counted.
        if shown.serial != 0 && own().any(|of| of.has_serial(shown.serial)) {
            Some("its serial number")
        } else if own().any(|of| of.ids.contains(&shown.key_id)) {
            Some("its id")
        } else if self.holds_key(&shown.key) {
            Some("its key")
        } else if self.holds_key(&shown.authority) {
            Some("its authority's key")
        } else {
            None
        }
    }
}

impl OfAuthority {
    fn of_section(mut section: Bytes<'_>) -> Result<Self, String> {
        let key = section.string()?;
        section.string()?;
        let mut of = Self { key: (!key.is_empty()).then(|| key.0.to_vec()), ..Self::default() };
        while !section.is_empty() {
            let kind = section.u8()?;
            let mut part = section.string()?;
            match kind {
                0x20 => {
                    while !part.is_empty() {
                        let serial = part.u64()?;
                        of.serials.push((serial, serial));
                    }
                }
                0x21 => {
                    let (from, to) = (part.u64()?, part.u64()?);
                    if from > to {
                        return Err(format!("the range {from}-{to} is backwards"));
                    }
                    of.serials.push((from, to));
                    part.end()?;
                }
                0x22 => {
                    let (first, bits) = (part.u64()?, part.string()?.0);
                    let many = u64::try_from(bits.len()).ok().and_then(|bytes| bytes.checked_mul(8));
                    if many.and_then(|many| first.checked_add(many)).is_none() {
                        return Err("serial numbers beyond the last".to_owned());
                    }
                    of.bitmaps.push((first, bits.to_vec()));
                    part.end()?;
                }
                0x23 => {
                    while !part.is_empty() {
                        of.ids.insert(String::from_utf8_lossy(part.string()?.0).into_owned());
                    }
                }
                0x39 => part.extension()?,
                other => return Err(format!("certificates of the unknown kind {other}")),
            }
        }
        Ok(of)
    }

    fn has_serial(&self, serial: u64) -> bool {
        let in_bitmap = |(first, bits): &(u64, Vec<u8>)| {
            let at = serial.checked_sub(*first).and_then(|at| usize::try_from(at).ok());
            let byte = at.and_then(|at| Some((bits.len().checked_sub(at / 8 + 1).and_then(|from_end| bits.get(from_end))?, at % 8)));
            byte.is_some_and(|(byte, bit)| byte >> bit & 1 == 1)
        };
        self.serials.iter().any(|(from, to)| (*from..=*to).contains(&serial)) || self.bitmaps.iter().any(in_bitmap)
    }
}

/// What is left to read of a list.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, many: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(many).ok_or("the revocation list is cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, String> {
        self.take(1).map(|byte| byte[0])
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.take(4).map(|bytes| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.take(8).map(|bytes| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn string(&mut self) -> Result<Self, String> {
        let many = usize::try_from(self.u32()?).map_err(|_| "a length beyond all memory")?;
        self.take(many).map(Self)
    }

    /// One that nobody knows; whether that matters stands in it.
    fn extension(&mut self) -> Result<(), String> {
        let (name, is_critical) = (self.string()?, self.u8()?);
        self.string()?;
        self.end()?;
        if is_critical == 0 { Ok(()) } else { Err(format!("the extension '{}' is not known", printable(&String::from_utf8_lossy(name.0)))) }
    }

    /// Nothing may follow.
    fn end(&self) -> Result<(), String> {
        if self.is_empty() { Ok(()) } else { Err(format!("{} bytes too many in the revocation list", self.0.len())) }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn number(text: &str) -> Result<u64, String> {
    let text = text.trim();
    // As strtoull(3) reads them for ssh-keygen: 0x10 is 16, 010 is 8.
    let (digits, base) = match (text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")), text.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (text, 10),
    };
    let read = if digits.starts_with('+') { "+".parse() } else { u64::from_str_radix(digits, base) };
    read.map_err(|_| format!("'{}' is no serial number", printable(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    const ANN: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const BOB: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB2kMbWcEzcqCV6Xd5LBWJRO3gN1tNb0HIm4bgWkKZ1B";
    const EVE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    /// Of ann's key, signed by bob's.
    fn certificate(serial: u64, id: &str) -> Certificate {
        Certificate {
            key: PublicKey::from_openssh(ANN).expect("a key"),
            authority: PublicKey::from_openssh(BOB).expect("a key"),
            key_id: id.to_owned(),
            serial,
            principals: vec![],
            valid_after_s: 0,
            valid_before_s: u64::MAX,
            critical_options: Default::default(),
            extensions: Default::default(),
        }
    }

    fn read(text: impl AsRef<[u8]>) -> Result<Revoked, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("revoked");
        std::fs::write(&file, text).expect("written");
        Revoked::read(&file).map_err(|why| why.rsplit('/').next().unwrap_or_default().to_owned())
    }

    /// What `ssh-keygen -k` makes of `text`, for certificates of `authority`.
    fn binary(text: &str, authority: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("written");
            folder.path().join(name)
        };
        let (text, authority) = (file("text", &format!("{text}\n")), file("ca.pub", &format!("{authority}\n")));
        let list = folder.path().join("list");
        let made = Command::new("ssh-keygen").args(["-q", "-k", "-f"]).arg(&list).arg("-s").arg(authority).arg(text).status();
        assert!(made.expect("ssh-keygen runs").success());
        std::fs::read(list).expect("a list")
    }

    /// Lines, and why they take back number 7 with the id laptop.
    const LINES: [(&str, Option<&str>); 15] = [
        ("serial: 07", Some("its serial number")),
        ("serial: 010", None),
        ("serial: 7", Some("its serial number")),
        ("serial: 0x7", Some("its serial number")),
        ("serial: 1-9", Some("its serial number")),
        ("serial: 1\nserial: 3\nserial: 5\nserial: 7\nserial: 9\nserial: 12\nserial: 14", Some("its serial number")),
        ("serial: 1\nserial: 3\nserial: 5\nserial: 8\nserial: 9\nserial: 12\nserial: 14", None),
        ("serial: 4294967296-9223372036854775807\nserial: 7", Some("its serial number")),
        ("serial: 8-9", None),
        ("serial: 1-6", None),
        ("id: laptop", Some("its id")),
        ("id: lap", None),
        ("id: desktop\nid: laptop", Some("its id")),
        ("", None),
        ("id: 7", None),
    ];

    #[test]
    fn both_forms_take_back_serials_and_ids() {
        for (text, why) in LINES {
            assert_eq!(read(format!("# a list\n\n{text}\n")).expect(text).holds(&certificate(7, "laptop"), true), why, "{text}");
            let of_bob = read(binary(text, BOB)).unwrap_or_else(|fault| panic!("{text}: {fault}"));
            assert_eq!(of_bob.holds(&certificate(7, "laptop"), true), why, "{text}");
            let of_eve = read(binary(text, EVE)).unwrap_or_else(|fault| panic!("{text}: {fault}"));
            assert_eq!(of_eve.holds(&certificate(7, "laptop"), true), None, "{text}: another authority's numbers");
            // Wherever the list stands, it says whose numbers these are; lines of text do not.
            assert_eq!(of_bob.holds(&certificate(7, "laptop"), false), why, "{text}");
            assert_eq!(read(format!("# a list\n{text}\n")).expect(text).holds(&certificate(7, "laptop"), false), None, "{text}");
        }
        assert_eq!(read("serial: 0-9").expect("a range").holds(&certificate(0, ""), true), None);
    }

    #[test]
    fn both_forms_take_back_keys() {
        let hash = format!("hash: {}", PublicKey::from_openssh(ANN).expect("a key").fingerprint());
        for (line, why) in [
            (ANN, Some("its key")),
            (&format!("{ANN} ann: her key"), Some("its key")),
            (&format!("key: {ANN} ann"), Some("its key")),
            (&format!("sha256: {ANN}"), Some("its key")),
            (&format!("sha1: {ANN}"), Some("its key")),
            (&hash, Some("its key")),
            (BOB, Some("its authority's key")),
            (&format!("sha1: {BOB}"), Some("its authority's key")),
            (EVE, None),
            (&format!("sha1: {EVE}"), None),
        ] {
            assert_eq!(read(line).expect(line).holds(&certificate(7, "laptop"), true), why, "{line}");
            let fed = if line.starts_with("ssh-") { format!("key: {line}") } else { line.to_owned() };
            assert_eq!(read(binary(&fed, BOB)).expect(line).holds(&certificate(7, "laptop"), true), why, "{line}");
        }
    }

    #[test]
    fn a_list_that_cannot_be_read_whole_is_not_read_at_all() {
        let whole = binary("serial: 7\nid: laptop", BOB);
        for cut in MAGIC.len()..whole.len() {
            // Between two sections a list may end; nothing then says that more belongs to it.
            let found = read(&whole[..cut]);
            assert!(found.is_err() || found == Ok(Revoked::default()), "{cut}");
        }
        let mut newer = whole.clone();
        newer[MAGIC.len() + 3] = 2;
        let extended = |critical: u8, rest: &[u8]| {
            let section = [&[0, 0, 0, 1, b'x', critical, 0, 0, 0, 1, b'y'], rest].concat();
            [&whole[..], &[255, 0, 0, 0, u8::try_from(section.len()).expect("short")], &section].concat()
        };
        assert!(read(extended(0, b"")).is_ok());
        let critical = extended(1, b"");
        for (bytes, says) in [
            (&b"serial: 7\nserial: x"[..], "revoked:2: 'x' is no serial number"),
            (b"serial: 9-7", "backwards"),
            (b"nonsense", "revoked:1: not a public key"),
            (b"user: ann", "revoked:1: 'user' is nothing"),
            (b"hash: MD5:00", "'hash' is nothing"),
            (b"\xff", "not text"),
            (&newer, "version 2"),
            (&critical, "extension 'x'"),
            (&[&whole[..], &[9, 0, 0, 0, 0]].concat(), "unknown kind 9"),
            (&[&whole[..], b"\n"].concat(), "cut off"),
            (&extended(0, b"z"), "1 bytes too many"),
            (&[&whole[..], &[255, 0, 0, 0, 6, 0, 0, 0, 1, b'x', 0]].concat(), "cut off"),
            (b"", "is empty"),
            (&MAGIC[..4], "not a public key"),
            (b"serial: +7", "no serial number"),
            (b"serial: 08", "no serial number"),
        ] {
            let fault = read(bytes).expect_err(says);
            assert!(fault.contains(says), "{says}: {fault}");
        }
        assert!(Revoked::read(Path::new("/nowhere/at/all")).is_err());
    }

    /// A list whose one section is that of certificates of bob's key, with this part.
    fn with_part(kind: u8, part: &[u8]) -> Vec<u8> {
        let string = |bytes: &[u8]| [&u32::try_from(bytes.len()).expect("short").to_be_bytes()[..], bytes].concat();
        let key = PublicKey::from_openssh(BOB).expect("a key").to_bytes();
        let section = [string(&key), string(b""), vec![kind], string(part)].concat();
        [MAGIC, &[0, 0, 0, 1], &[0; 24], &[0; 8], &[1], &string(&section)].concat()
    }

    #[test]
    fn a_part_of_a_list_holds_what_it_should_and_no_byte_more() {
        let range = |from: u64, to: u64| [from.to_be_bytes(), to.to_be_bytes()].concat();
        let bitmap =
            |first: u64, bits: &[u8]| [&first.to_be_bytes()[..], &u32::try_from(bits.len()).expect("short").to_be_bytes(), bits].concat();
        for (kind, part, says) in [
            (0x20, 7_u64.to_be_bytes().to_vec(), None),
            (0x20, vec![0; 9], Some("cut off")),
            (0x21, range(7, 7), None),
            (0x21, range(9, 7), Some("the range 9-7 is backwards")),
            (0x21, [range(1, 9), vec![0]].concat(), Some("1 bytes too many")),
            (0x22, bitmap(0, &[0x80]), None),
            (0x22, bitmap(0, &[]), None),
            (0x22, [bitmap(0, &[0x80]), vec![1, 2]].concat(), Some("2 bytes too many")),
            (0x22, bitmap(u64::MAX - 3, &[0x80]), Some("beyond the last")),
            (0x23, vec![0, 0, 0, 2, b'a'], Some("cut off")),
            (0x24, vec![], Some("unknown kind 36")),
        ] {
            match (read(with_part(kind, &part)), says) {
                (Ok(revoked), None) => {
                    let expected = (!part.ends_with(&[0; 4])).then_some("its serial number");
                    assert_eq!(revoked.holds(&certificate(7, "x"), true), expected, "{kind} {part:?}");
                }
                (Err(fault), Some(says)) => assert!(fault.contains(says), "{kind} {part:?}: {fault}"),
                (found, says) => panic!("{kind} {part:?}: {found:?}, expected {says:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_list_is_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), serial: u64) {
            if let Ok(revoked) = Revoked::of_binary(&bytes) {
                let _ = revoked.holds(&certificate(serial, "x"), true);
            }
            let head = [&[0, 0, 0, 1][..], &[0; 24], &[0; 8], &[1], &32_u32.to_be_bytes()].concat();
            if let Ok(revoked) = Revoked::of_binary(&[&head[..], &bytes].concat()) {
                let _ = revoked.holds(&certificate(serial, "x"), true);
            }
        }
    }
}
