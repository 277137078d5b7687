//! Any bytes as a push: commands, options and a certificate, by packets and as text. Nothing may panic or hang, and what is
//! taken is what was signed.
#![no_main]

use gix_hash::Kind;
use libfuzzer_sys::fuzz_target;
use packmule::wire::{PktReader, PushCertificate, PushFeatures, read_push_request, write_data, write_flush};

const ALL: PushFeatures = PushFeatures { push_options: true, certificate: true };

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let hash = if choice & 1 == 0 { Kind::Sha1 } else { Kind::Sha256 };
    let features = PushFeatures { push_options: choice & 2 != 0, certificate: choice & 4 != 0 };
    if choice & 8 == 0 {
        drop(read_push_request(&mut PktReader::new(data), hash, features));
        return;
    }
    // The bytes are the certificate's text; the packets round it are sound.
    let mut packets = vec![];
    let words = format!("push-cert\0report-status object-format={hash}");
    write_data(&mut packets, words.as_bytes()).expect("memory");
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        for part in line.chunks(1000) {
            write_data(&mut packets, part).expect("memory");
        }
    }
    write_data(&mut packets, b"push-cert-end\n").expect("memory");
    write_flush(&mut packets).expect("memory");
    let Ok(Some(request)) = read_push_request(&mut PktReader::new(packets.as_slice()), hash, ALL) else { return };
    let certificate = request.certificate.expect("commands came in one");
    assert_eq!([certificate.payload(), certificate.signature()].concat(), certificate.text().to_vec());
    assert_eq!(PushCertificate::parse(certificate.text().to_owned()).expect("parsed before"), certificate);
    assert_eq!(certificate.command_lines().count(), request.commands.len());
    for (line, command) in certificate.command_lines().zip(&request.commands) {
        let shown = [format!("{} {} ", command.old, command.new).as_bytes(), &command.name].concat();
        assert!(line.eq_ignore_ascii_case(&shown), "ids may be in capitals, nothing else differs");
    }
});
