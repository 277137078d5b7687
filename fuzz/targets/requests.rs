//! Any bytes as a client's requests: fetches of all versions, commands of version 2, pushes. Nothing may panic or hang.
#![no_main]

use gix_hash::Kind;
use libfuzzer_sys::fuzz_target;
use packmule::wire::{
    FetchFeatures, NegotiationLine, PktReader, PushFeatures, read_command, read_fetch_v0, read_fetch_v2, read_ls_refs, read_negotiation_line, read_push_request,
};

const ALL: FetchFeatures = FetchFeatures { filter: true, ref_in_want: true, sideband_all: true, packfile_uris: true };

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let hash = if choice & 1 == 0 { Kind::Sha1 } else { Kind::Sha256 };
    let mut reader = PktReader::new(data);
    match (choice >> 1) % 3 {
        0 => {
            if let Ok(Some(_)) = read_fetch_v0(&mut reader, hash, ALL) {
                while let Ok(line) = read_negotiation_line(&mut reader, hash) {
                    if matches!(line, NegotiationLine::Done | NegotiationLine::Closed) {
                        break;
                    }
                }
            }
        }
        1 => {
            while let Ok(Some(head)) = read_command(&mut reader) {
                let name = format!("{head:?}");
                let taken =
                    if name.contains("ls-refs") { read_ls_refs(&mut reader).is_ok() } else { read_fetch_v2(&mut reader, hash, ALL).is_ok() };
                if !taken {
                    break;
                }
            }
        }
        _ => drop(read_push_request(&mut reader, hash, PushFeatures { push_options: choice & 0x80 != 0, certificate: choice & 0x40 != 0 })),
    }
});
