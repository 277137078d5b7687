//! The text of a push certificate into its parts.
//!
//! Source: gitprotocol-pack, "Push Certificate"; `builtin/receive-pack.c` (`queue_commands_from_cert`, `check_nonce`,
//! `check_cert_push_options`), `gpg-interface.c` (`parse_signed_buffer`). A header ends at the first empty line, the
//! commands where the last signature begins: a second signature between them is no command, and so refused. Who signed
//! is for `serve` to find out.

use super::Error;
use bstr::{BStr, BString, ByteSlice};

/// How signatures begin, each on a line of its own.
const SIGNATURES: [(&[u8], SignatureFormat); 4] = [
    (b"-----BEGIN PGP SIGNATURE-----", SignatureFormat::OpenPgp),
    (b"-----BEGIN PGP MESSAGE-----", SignatureFormat::OpenPgp),
    (b"-----BEGIN SIGNED MESSAGE-----", SignatureFormat::X509),
    (b"-----BEGIN SSH SIGNATURE-----", SignatureFormat::Ssh),
];

/// Who makes and verifies signatures of a kind (git-config, `gpg.format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureFormat {
    /// GnuPG and its like.
    OpenPgp,
    /// S/MIME.
    X509,
    /// `ssh-keygen -Y sign`.
    Ssh,
}

/// What a pusher signed, and the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushCertificate {
    text: BString,
    /// Where the commands begin.
    commands: usize,
    /// Where the signature begins, and what is signed ends.
    signature: usize,
    format: Option<SignatureFormat>,
}

impl PushCertificate {
    /// Find the parts of a certificate as it was sent.
    ///
    /// # Errors
    /// [`Error::Protocol`]: there is no empty line between header and commands, or a NUL somewhere.
    pub fn parse(text: BString) -> Result<Self, Error> {
        let malformed = || Error::protocol(format!("malformed push certificate {}", text[..text.len().min(100)].as_bstr()));
        let commands = text.find(b"\n\n").filter(|_| text.find_byte(0).is_none()).ok_or_else(malformed)? + 2;
        let (mut signature, mut format, mut at) = (text.len(), None, 0);
        for line in text.lines_with_terminator() {
            if let Some((_, found)) = SIGNATURES.iter().find(|(begin, _)| line.starts_with(begin)) {
                (signature, format) = (at, Some(*found));
            }
            at += line.len();
        }
        if signature < commands {
            return Err(malformed());
        }
        Ok(Self { text, commands, signature, format })
    }

    /// All of it.
    pub fn text(&self) -> &BStr {
        self.text.as_bstr()
    }

    /// What is signed.
    pub fn payload(&self) -> &[u8] {
        &self.text[..self.signature]
    }

    /// The signature, armoured; empty when there is none.
    pub fn signature(&self) -> &[u8] {
        &self.text[self.signature..]
    }

    /// Who made the signature; `None` when there is none.
    pub fn format(&self) -> Option<SignatureFormat> {
        self.format
    }

    /// The lines between header and signature.
    pub fn command_lines(&self) -> impl Iterator<Item = &[u8]> {
        self.text[self.commands..self.signature].lines_with_terminator().map(|line| line.strip_suffix(b"\n").unwrap_or(line))
    }

    fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a BStr> {
        let lines = self.text[..self.commands].lines_with_terminator();
        lines.filter_map(move |line| {
            let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b" ")?;
            Some(value.strip_suffix(b"\n").unwrap_or(value).as_bstr())
        })
    }

    /// What of the server's own the client signed, to show that this is no copy.
    pub fn nonce(&self) -> Option<&BStr> {
        self.headers("nonce").next()
    }

    /// Who says to push.
    pub fn pusher(&self) -> Option<&BStr> {
        self.headers("pusher").next()
    }

    /// The push options that were signed.
    pub fn push_options(&self) -> impl Iterator<Item = &BStr> {
        self.headers("push-option")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "certificate version 0.1\npusher A <a@b> 1 +0000\npushee x\nnonce 1-2\npush-option a b\npush-option c\n\n\
                        one\ntwo\n-----BEGIN PGP SIGNATURE-----\nxx\n-----END PGP SIGNATURE-----\n";

    #[test]
    fn a_certificate_has_a_header_commands_and_a_signature() {
        let certificate = PushCertificate::parse(TEXT.into()).expect("whole");
        assert_eq!(certificate.nonce(), Some("1-2".into()));
        assert_eq!(certificate.pusher(), Some("A <a@b> 1 +0000".into()));
        assert_eq!(certificate.push_options().collect::<Vec<_>>(), ["a b", "c"]);
        assert_eq!(certificate.command_lines().collect::<Vec<_>>(), [b"one", b"two"]);
        assert!(certificate.payload().ends_with(b"two\n") && certificate.signature().starts_with(b"-----BEGIN PGP"));
        assert_eq!(certificate.format(), Some(SignatureFormat::OpenPgp));
    }

    #[test]
    fn what_stands_behind_the_empty_line_is_no_header() {
        let certificate = PushCertificate::parse("certificate version 0.1\n\nnonce 7\n".into()).expect("whole");
        assert_eq!((certificate.nonce(), certificate.format(), certificate.signature()), (None, None, &b""[..]));
    }

    #[test]
    fn the_last_signature_is_the_one_so_that_another_before_it_is_read_as_commands() {
        let certificate = PushCertificate::parse(format!("{TEXT}-----BEGIN SSH SIGNATURE-----\n").into()).expect("whole");
        assert_eq!(certificate.format(), Some(SignatureFormat::Ssh));
        assert!(certificate.command_lines().any(|line| line == b"xx"));
    }

    #[test]
    fn a_certificate_without_an_end_of_its_header_is_refused() {
        for text in ["", "nonce 1\n", "a\n\n\0", "-----BEGIN SSH SIGNATURE-----\n\n"] {
            assert!(PushCertificate::parse(text.into()).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn payload_and_signature_are_the_whole_text(lines in proptest::collection::vec("(nonce .|-----BEGIN PGP SIGNATURE-----||x\0?)", 0..9)) {
            if let Ok(certificate) = PushCertificate::parse(lines.join("\n").into()) {
                prop_assert_eq!([certificate.payload(), certificate.signature()].concat(), certificate.text().to_vec());
                certificate.command_lines().count();
            }
        }
    }
}
