//! A push certificate into what hooks and the log are told of it: who signed, and whether the push was meant for here and now.
//!
//! Source: `builtin/receive-pack.c` (`prepare_push_cert_nonce`, `check_nonce`, `check_cert_push_options`,
//! `prepare_push_cert_sha1`); githooks, "pre-receive". Whether that will do is for hooks to say, as in git. SSH signatures
//! are verified here; those of OpenPGP and X.509 are not, and are said to be unchecked (`E`), never good.

use super::signers::{Signers, Verdict};
use super::{Conversation, Error};
use crate::serve::Options;
use crate::store::{Push, Repository};
use crate::wire::{PushCertificate, SignatureFormat};
use bstr::{BString, ByteSlice};
use gix_hash::ObjectId;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes that both hash functions take at a time.
const BLOCK_BYTES: usize = 64;

/// The server's word of a moment, which a certificate must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nonce {
    seed: BString,
    place: BString,
    hash: gix_hash::Kind,
    /// Seconds since 1970.
    pub at_s: u64,
}

/// What became of the nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NonceStatus {
    Ok,
    Bad,
    Missing,
    /// It is ours, and so many seconds older than it should be.
    Slop(i64),
}

/// What is known of a signed push.
pub(super) struct SignedPush {
    blob: ObjectId,
    /// As in the letters of `git log --format=%G?`.
    status: char,
    signer: String,
    key: String,
    nonce: BString,
    nonce_status: NonceStatus,
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// HMAC (RFC 2104), with the repository's hash function, as git makes its nonces.
fn hmac(hash: gix_hash::Kind, key: &[u8], text: &[u8]) -> Option<ObjectId> {
    let digest = |parts: [&[u8]; 2]| {
        let mut hasher = gix_hash::hasher(hash);
        parts.iter().for_each(|part| hasher.update(part));
        hasher.try_finalize().ok()
    };
    let mut block = [0; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        let short = digest([key, b""])?;
        block[..short.as_slice().len()].copy_from_slice(short.as_slice());
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = digest([&block.map(|byte| byte ^ 0x36), text])?;
    digest([&block.map(|byte| byte ^ 0x5c), inner.as_slice()])
}

/// In a time that tells nothing of where they differ.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |all, (one, other)| all | (one ^ other)) == 0
}

impl Nonce {
    /// Of this moment; `None` where no seed is set.
    pub fn now(repository: &Repository, options: &Options) -> Option<Self> {
        let seed = repository.settings().push.cert_nonce_seed.clone().or_else(|| options.certificates.nonce_seed.clone())?;
        Some(Self { seed, place: options.place.clone(), hash: repository.hash_kind(), at_s: now_s() })
    }

    /// `<seconds>-<hmac>`; `None` only when the hash function was attacked. Key and text change places in git; where it
    /// serves the same repository, each must know the other's nonces.
    pub fn text(&self) -> Option<String> {
        let moment = [self.place.as_slice(), format!(":{}", self.at_s).as_bytes()].concat();
        Some(format!("{}-{}", self.at_s, hmac(self.hash, &moment, &self.seed)?))
    }

    /// What to say of the nonce that the client signed. Where each request is served by another process, one of another
    /// moment may be ours too.
    fn judge(&self, found: Option<&[u8]>, is_stateless: bool) -> NonceStatus {
        let Some(found) = found else { return NonceStatus::Missing };
        let is = |nonce: &Self| nonce.text().is_some_and(|text| is_equal(text.as_bytes(), found));
        if is(self) {
            return NonceStatus::Ok;
        }
        let at_s = found.split_str("-").next().and_then(|digits| digits.to_str().ok()?.parse().ok());
        match at_s.filter(|_| is_stateless && found.first().is_some_and(|digit| (b'1'..=b'9').contains(digit))) {
            Some(at_s) if is(&Self { at_s, ..self.clone() }) => {
                NonceStatus::Slop(i64::try_from(self.at_s).unwrap_or(i64::MAX).saturating_sub_unsigned(at_s))
            }
            _ => NonceStatus::Bad,
        }
    }
}

impl Conversation<'_> {
    /// Whether the options that were signed are not those that were sent.
    pub(super) fn has_other_options(&self) -> bool {
        let certificate = self.request.certificate.as_ref();
        certificate
            .is_some_and(|certificate| !certificate.push_options().eq(self.request.push_options.iter().map(|option| option.as_bstr())))
    }

    /// Keep the certificate beside the pushed objects and find out about it.
    pub(super) fn take_certificate(&mut self, push: &mut Push) -> Result<(), Error> {
        let Some((certificate, nonce)) = self.request.certificate.as_ref().zip(self.nonce.as_ref()) else { return Ok(()) };
        let blob = push.add_blob(certificate.text(), self.cancel)?;
        let verdict = self.verify(certificate)?;
        let (status, signer, key) = match verdict {
            None => ('N', String::new(), String::new()),
            Some(Verdict::Good { signer, key }) => ('G', signer, key),
            Some(Verdict::Unknown { key }) => ('U', String::new(), key),
            Some(Verdict::Bad) => ('B', String::new(), String::new()),
            Some(Verdict::Unchecked) => ('E', String::new(), String::new()),
        };
        let found = certificate.nonce().map(|nonce| nonce.as_bytes());
        let mut nonce_status = nonce.judge(found, self.options.stateless);
        let mut shown: BString = nonce.text().unwrap_or_default().into();
        let slop_s = self.repository.settings().push.cert_nonce_slop_s.max(self.options.certificates.nonce_slop_s);
        if let (NonceStatus::Slop(by_s), Some(found)) = (nonce_status, found)
            && slop_s != 0
            && by_s.unsigned_abs() <= slop_s
        {
            (nonce_status, shown) = (NonceStatus::Ok, found.into());
        }
        tracing::info!(certificate = %blob, %status, signer, key, ?nonce_status, "a signed push");
        self.signed = Some(SignedPush { blob, status, signer, key, nonce: shown, nonce_status });
        Ok(())
    }

    /// `None`: nothing is known of signatures here, or there is none.
    fn verify(&self, certificate: &PushCertificate) -> Result<Option<Verdict>, Error> {
        match certificate.format() {
            None => return Ok(None),
            Some(SignatureFormat::OpenPgp | SignatureFormat::X509) => return Ok(Some(Verdict::Unchecked)),
            Some(SignatureFormat::Ssh) => {}
        }
        let settings = &self.repository.settings().push;
        let file = |name: Option<&BString>| name.map_or(Ok(None), |name| self.repository.read_named_file(name));
        let own = &self.options.certificates.allowed_signers;
        let Some(allowed) = file(settings.allowed_signers.as_ref().or(own.as_ref()))? else { return Ok(None) };
        let revoked = file(settings.revoked_signers.as_ref())?;
        let signers = Signers { allowed: &allowed, revoked: revoked.as_deref() };
        Ok(Some(signers.verify(certificate.payload(), certificate.signature(), now_s())))
    }
}

impl SignedPush {
    /// What `pre-receive` and `post-receive` are told.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let status = match self.nonce_status {
            NonceStatus::Ok => "OK",
            NonceStatus::Bad => "BAD",
            NonceStatus::Missing => "MISSING",
            NonceStatus::Slop(_) => "SLOP",
        };
        let mut env: Vec<(OsString, OsString)> = vec![
            ("GIT_PUSH_CERT".into(), self.blob.to_string().into()),
            ("GIT_PUSH_CERT_SIGNER".into(), self.signer.clone().into()),
            ("GIT_PUSH_CERT_KEY".into(), self.key.clone().into()),
            ("GIT_PUSH_CERT_STATUS".into(), self.status.to_string().into()),
            ("GIT_PUSH_CERT_NONCE".into(), OsStr::from_bytes(&self.nonce).to_owned()),
            ("GIT_PUSH_CERT_NONCE_STATUS".into(), status.into()),
        ];
        if let NonceStatus::Slop(by_s) = self.nonce_status {
            env.push(("GIT_PUSH_CERT_NONCE_SLOP".into(), by_s.to_string().into()));
        }
        env
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gix_hash::Kind::{Sha1, Sha256};

    #[test]
    fn hmacs_are_those_of_the_standards() {
        // RFC 2202, cases 2 and 6; RFC 4231, cases 2 and 6.
        let long = [0xaa; 131];
        let larger = b"Test Using Larger Than Block-Size Key - Hash Key First";
        let of = |hash, key: &[u8], text: &[u8]| hmac(hash, key, text).expect("no attack").to_string();
        let question = b"what do ya want for nothing?";
        assert_eq!(of(Sha1, b"Jefe", question), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert_eq!(of(Sha1, &long[..80], larger), "aa4ae5e15272d00e95705637ce8a3b55ed402112");
        assert_eq!(of(Sha256, b"Jefe", question), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(of(Sha256, &long, larger), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn a_nonce_is_good_here_and_now_and_where_requests_are_separate_also_later() {
        let nonce = Nonce { seed: "sekrit".into(), place: "r.git".into(), hash: Sha1, at_s: 1000 };
        let (now, before) = (nonce.text().expect("hashed"), Nonce { at_s: 940, ..nonce.clone() }.text().expect("hashed"));
        let judge = |found: &str, stateless| nonce.judge(Some(found.as_bytes()), stateless);
        for stateless in [false, true] {
            assert_eq!(judge(&now, stateless), NonceStatus::Ok);
            assert_eq!(nonce.judge(None, stateless), NonceStatus::Missing);
            for bad in ["", "1", "940-", &now[..now.len() - 1], "0-0", &format!("+{before}"), &before.replace("940-", "941-")] {
                assert_eq!(judge(bad, stateless), NonceStatus::Bad, "{bad}");
            }
        }
        assert_eq!(judge(&before, false), NonceStatus::Bad);
        assert_eq!(judge(&before, true), NonceStatus::Slop(60));
        let elsewhere = Nonce { place: "other.git".into(), ..nonce.clone() }.text().expect("hashed");
        assert_eq!(judge(&elsewhere, true), NonceStatus::Bad);
    }
}
