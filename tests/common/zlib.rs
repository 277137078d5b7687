//! Streams of data that nobody could hold, made without being held (RFC 1950, RFC 1951).

/// `head`, which ends with the letter `k` and fits into 64 KiB, and so many times 258 of it; deflated in fixed codes, a
/// hundred and sixty times smaller.
pub fn deflated_run(head: &[u8], times: u64, out: &mut Vec<u8>) {
    let len = u16::try_from(head.len()).expect("one stored block");
    out.extend([0x78, 1, 0]);
    out.extend([len.to_le_bytes(), (!len).to_le_bytes()].concat());
    out.extend(head);
    let (mut bits, mut held) = (0u64, 0);
    let mut put = |new: u64, count: u32, out: &mut Vec<u8>| {
        bits |= new << held;
        held += count;
        while held >= 8 {
            out.push(bits as u8);
            (bits, held) = (bits >> 8, held - 8);
        }
    };
    // A block with fixed codes: 258 bytes more of what stands one byte back, again and again.
    put(0b010, 3, out);
    (0..times).for_each(|_| put(0b1010_0011, 13, out));
    put(0, 7, out);
    // And the last one, empty.
    put(0b011, 3, out);
    put(0, 7 + 7, out);
    out.extend(adler(head, b'k', u128::from(times) * 258).to_be_bytes());
}

/// The checksum of `head` with so many times `letter` behind it.
pub fn adler(head: &[u8], letter: u8, times: u128) -> u32 {
    let (mut one, mut two) = (1u128, 0u128);
    for byte in head {
        one = (one + u128::from(*byte)) % 65_521;
        two = (two + one) % 65_521;
    }
    two = (two + times * one + u128::from(letter) * (times * (times + 1) / 2)) % 65_521;
    one = (one + times * u128::from(letter)) % 65_521;
    (two as u32) << 16 | one as u32
}
