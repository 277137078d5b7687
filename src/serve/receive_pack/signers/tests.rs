//! Signatures of ssh-keygen, and its own verdict on them, against ours.

use super::*;
use proptest::prelude::*;
use std::path::Path;
use std::process::{Command, Stdio};

/// 2026-11-20 12:00:00.
const NOW_S: u64 = 1_795_176_000;

fn keygen(dir: &Path, args: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    use std::io::Write as _;
    let mut command = Command::new("ssh-keygen");
    command.current_dir(dir).args(args).env("TZ", "UTC").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("ssh-keygen runs");
    child.stdin.take().expect("a pipe").write_all(input).expect("written");
    let output = child.wait_with_output().expect("it ends");
    output.status.success().then_some(output.stdout)
}

/// Keys `one`, `two` (RSA), `ca`, and a certificate of `one` for ann and bob.
fn keys() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let make = |name: &str, kind: &[&str]| {
        let args = [&["-q", "-N", "", "-C", name, "-f", name, "-t"], kind].concat();
        keygen(dir.path(), &args, b"").expect("a key");
    };
    make("one", &["ed25519"]);
    make("two", &["rsa", "-b", "2048"]);
    make("three", &["ecdsa"]);
    make("ca", &["ed25519"]);
    std::fs::copy(dir.path().join("one"), dir.path().join("certified")).expect("copied");
    std::fs::copy(dir.path().join("one.pub"), dir.path().join("certified.pub")).expect("copied");
    let certify = ["-q", "-s", "ca", "-I", "id", "-n", "ann@x,bob@x", "-V", "20260101:20270101", "certified.pub"];
    keygen(dir.path(), &certify, b"").expect("a certificate");
    dir
}

fn public(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(format!("{name}.pub"))).expect("a key").trim().to_owned()
}

fn sign(dir: &Path, key: &str, namespace: &str, payload: &[u8]) -> Vec<u8> {
    keygen(dir, &["-q", "-Y", "sign", "-n", namespace, "-f", key], payload).expect("a signature")
}

fn verify(allowed: &str, payload: &[u8], signature: &[u8]) -> Verdict {
    Signers { allowed: allowed.as_bytes(), revoked: None }.verify(payload, signature, NOW_S)
}

/// What git finds out with the help of ssh-keygen: the signer; empty for a good signature of nobody known; `None`: bad.
fn by_keygen(dir: &Path, allowed: &str, payload: &[u8], signature: &[u8]) -> Option<String> {
    std::fs::write(dir.join("allowed"), allowed).expect("written");
    std::fs::write(dir.join("sig"), signature).expect("written");
    let time = "-Overify-time=20261120120000";
    let found = keygen(dir, &["-Y", "find-principals", "-f", "allowed", "-s", "sig", time], b"").filter(|found| !found.is_empty());
    let Some(found) = found else {
        return keygen(dir, &["-Y", "check-novalidate", "-n", "git", "-s", "sig", time], payload).map(|_| String::new());
    };
    let found = String::from_utf8(found).expect("text");
    let good = |principal: &&str| {
        keygen(dir, &["-Y", "verify", "-n", "git", "-f", "allowed", "-I", principal, "-s", "sig", time], payload).is_some()
    };
    found.lines().filter(|line| !line.is_empty()).find(good).map(str::to_owned)
}

#[test]
fn a_signature_is_judged_as_ssh_keygen_judges_it() {
    let dir = keys();
    let dir = dir.path();
    let (one, two, three, ca) = (public(dir, "one"), public(dir, "two"), public(dir, "three"), public(dir, "ca"));
    let payload = b"certificate version 0.1\n\n";
    let lists = [
        String::new(),
        format!("# none\n\n  ann@x {one}\n"),
        format!("ann@x,bob@x {one}\nbob@x {two}\ncarl@x\t{three}\n"),
        format!("\"ann x,b\" {one}\n"),
        format!("ann@x namespaces=\"file\" {one}\nbob@x namespaces=\"file,g*\" {two}\n"),
        format!("ann@x namespaces=\"file\" {one}\nann@x {one}\n"),
        format!("!ann@x,*@x {one}\n*@x {two}\n"),
        format!("ann@x valid-before=\"20260101\" {one}\nbob@x valid-after=\"20260101Z\",valid-before=\"202701010000\" {two}\n"),
        format!("ann@x valid-after=\"20270101\" {one}\nbob@x VALID-BEFORE=\"20261120115959\" {two}\n"),
        format!("*@x cert-authority {ca}\n"),
        format!("bob@* cert-authority,namespaces=\"git\" {ca}\n"),
        format!("carl@x cert-authority {ca}\n"),
        format!("ann@x cert-authority {one}\nann@x {ca}\n"),
        format!("ann@x nonsense {one}\nann@x namespaces=git {one}\nbob@x {two} a comment\n"),
        format!("ann@x valid-after=\"yesterday\" {one}\n ann@x, {two}\n"),
    ];
    for key in ["one", "two", "three", "certified"] {
        let file = if key == "certified" { "certified-cert.pub" } else { key };
        for namespace in ["git", "file"] {
            let signature = sign(dir, file, namespace, payload);
            for list in &lists {
                let wanted = by_keygen(dir, list, payload, &signature);
                let got = match verify(list, payload, &signature) {
                    Verdict::Good { signer, key } => {
                        assert!(key.starts_with("SHA256:"), "{key}");
                        Some(signer)
                    }
                    Verdict::Unknown { .. } => Some(String::new()),
                    Verdict::Bad => None,
                    Verdict::Unchecked => panic!("nothing is revoked"),
                };
                assert_eq!(got, wanted, "{key} in {namespace}, allowed:\n{list}");
            }
        }
    }
}

#[test]
fn the_fingerprint_is_that_of_ssh_keygen() {
    let dir = keys();
    let shown = String::from_utf8(keygen(dir.path(), &["-lf", "one.pub"], b"").expect("a key")).expect("text");
    let signature = sign(dir.path(), "one", "git", b"x");
    let wanted = shown.split_whitespace().nth(1).expect("a fingerprint").to_owned();
    assert_eq!(verify("", b"x", &signature), Verdict::Unknown { key: wanted });
}

#[test]
fn one_byte_that_differs_is_told() {
    let dir = keys();
    let allowed = format!("ann@x {}\n", public(dir.path(), "one"));
    let signature = sign(dir.path(), "one", "git", b"payload");
    assert!(matches!(verify(&allowed, b"payload", &signature), Verdict::Good { signer, .. } if signer == "ann@x"));
    assert_eq!(verify(&allowed, b"Payload", &signature), Verdict::Bad);
    assert_eq!(verify(&allowed, b"payload", &signature[..signature.len() / 2]), Verdict::Bad);
    let begin = signature.find_byte(b'\n').expect("lines");
    // Behind the magic word and the version, which is not signed.
    for at in begin + 1 + 14..signature.len() - 30 {
        let mut changed = signature.clone();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let verdict = verify(&allowed, b"payload", &changed);
        assert!(!matches!(verdict, Verdict::Good { .. }) || changed == signature, "byte {at}: {verdict:?}");
    }
}

#[test]
fn a_revoked_key_signs_no_more_and_a_list_that_cannot_be_read_says_so() {
    let dir = keys();
    let dir = dir.path();
    let allowed = format!("*@x {}\n*@x cert-authority {}\n", public(dir, "one"), public(dir, "ca"));
    let judged = |key: &str, revoked: &[u8]| {
        Signers { allowed: allowed.as_bytes(), revoked: Some(revoked) }.verify(b"x", &sign(dir, key, "git", b"x"), NOW_S)
    };
    assert!(matches!(judged("one", public(dir, "two").as_bytes()), Verdict::Good { .. }));
    assert_eq!(judged("one", format!("# gone\n{}\n", public(dir, "one")).as_bytes()), Verdict::Bad);
    assert_eq!(judged("certified-cert.pub", public(dir, "ca").as_bytes()), Verdict::Bad);
    assert_eq!(judged("one", public(dir, "one").replace(' ', "\t").as_bytes()), Verdict::Bad);
    for unread in ["SHA256:AAAA\n".to_owned(), format!("{}\nssh-ed25519 AAAA\n", public(dir, "two"))] {
        assert_eq!(judged("one", unread.as_bytes()), Verdict::Unchecked, "that line might have been its own");
    }
    assert_eq!(judged("one", public(dir, "certified-cert").as_bytes()), Verdict::Unchecked, "a list holds keys only");
    keygen(dir, &["-q", "-k", "-f", "krl", "two.pub"], b"").expect("a list");
    assert_eq!(judged("one", &std::fs::read(dir.join("krl")).expect("a list")), Verdict::Unchecked);
}

#[test]
fn times_are_read_as_dates_of_the_calendar() {
    for (text, wanted) in [
        ("19700101", Some(0)),
        ("20000229", Some(951_782_400)),
        ("202611201200", Some(NOW_S)),
        ("20261120120000Z", Some(NOW_S)),
        ("20261320", None),
        ("2026", None),
        ("", None),
    ] {
        assert_eq!(read_time(text.as_bytes()), wanted, "{text}");
    }
}

proptest! {
    #[test]
    fn no_list_and_no_signature_makes_it_panic(allowed: Vec<u8>, signature: Vec<u8>, text in "[a-z\",=! \\\\*-]{0,40}") {
        let whole = [b"-----BEGIN SSH SIGNATURE-----\n", signature.as_slice(), b"\n-----END SSH SIGNATURE-----\n"].concat();
        let signers = Signers { allowed: &allowed, revoked: Some(&allowed) };
        prop_assert_eq!(signers.verify(b"", &whole, 0), Verdict::Bad);
        let _ = Line::read(&allowed);
        let _ = Line::read(text.as_bytes());
        let _ = Options::read(text.as_bytes());
    }

    #[test]
    fn patterns_match_as_a_naive_search_does(text in "[ab]{0,8}", pattern in "[ab*?]{0,6}") {
        fn naive(text: &[u8], pattern: &[u8]) -> bool {
            match pattern.split_first() {
                None => text.is_empty(),
                Some((b'*', rest)) => (0..=text.len()).any(|at| naive(&text[at..], rest)),
                Some((b'?', rest)) => !text.is_empty() && naive(&text[1..], rest),
                Some((byte, rest)) => text.first() == Some(byte) && naive(&text[1..], rest),
            }
        }
        prop_assert_eq!(matches(text.as_bytes(), pattern.as_bytes()), naive(text.as_bytes(), pattern.as_bytes()));
    }
}
