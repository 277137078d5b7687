//! A submodule's URL into "may stand in `.gitmodules` or not".
//!
//! Source: `submodule-config.c` (`check_submodule_url`), `urlmatch.c` (`url_normalize`), `url.c` (`url_decode`): no option,
//! no newline that a credential helper could take for its own protocol's, nothing that climbs over the host.
//! An URL is made normal only as far as that answer needs.

use bstr::ByteSlice;

/// Whether git takes `url` from a `.gitmodules` file. It has no NUL.
pub(super) fn is_allowed(url: &[u8]) -> bool {
    if url.starts_with(b"-") {
        return false;
    }
    let (ups, behind) = leading_dots(url);
    if behind.len() < url.len() || url.starts_with(b"git://") {
        // It could be put behind an HTTP URL and be decoded there.
        let climbs_over = ups > 0 && matches!(behind.first(), Some(b':' | b'/'));
        return !has_newline(url) && !climbs_over;
    }
    match curl_url(url) {
        Some(url) => normal(url).is_some_and(|url| !has_newline(&url)),
        None => true,
    }
}

/// How many `../` stand in front, with any `./` between them, and what follows.
fn leading_dots(url: &[u8]) -> (usize, &[u8]) {
    let (mut ups, mut rest) = (0, url);
    loop {
        rest = match rest {
            [b'.', b'.', b'/' | b'\\', rest @ ..] => {
                ups += 1;
                rest
            }
            [b'.', b'/' | b'\\', rest @ ..] => rest,
            _ => return (ups, rest),
        };
    }
}

/// What libcurl is handed, where it is it that fetches.
fn curl_url(url: &[u8]) -> Option<&[u8]> {
    let schemes: [&[u8]; 4] = [b"http", b"https", b"ftp", b"ftps"];
    schemes.iter().find_map(|scheme| match url.strip_prefix(*scheme)? {
        [b':', b':', rest @ ..] => Some(rest),
        [b':', b'/', b'/', ..] => Some(url),
        _ => None,
    })
}

fn escaped(bytes: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    match bytes {
        [high, low, ..] => Some((digit(*high)? << 4 | digit(*low)?) as u8),
        _ => None,
    }
}

/// Whether there is a newline in it, escapes counted, though not before the first colon.
fn has_newline(url: &[u8]) -> bool {
    if url.contains(&b'\n') {
        return true;
    }
    let from = url.find_byte(b':').unwrap_or(0);
    url[from..].find_iter("%").any(|at| escaped(&url[from + at + 1..]) == Some(b'\n'))
}

/// Append `from` with escapes undone where none is needed, and made where one is; `None` at an escape that is none.
fn push_normal(from: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = from;
    while let [first, behind @ ..] = rest {
        let (byte, was_escaped) = match first {
            b'%' => (escaped(behind)?, true),
            byte => (*byte, false),
        };
        rest = if was_escaped { &behind[2..] } else { behind };
        let unsafe_byte = byte <= 0x1f || byte >= 0x7f || b" <>\"%{}|\\^`".contains(&byte);
        if unsafe_byte || was_escaped && b":/?#[]@!$&'()*+,;=".contains(&byte) {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            out.push(byte);
        }
    }
    Some(())
}

/// `url` as git would compare it with others; `None` where it is no URL. Host and port stay as they are.
fn normal(url: &[u8]) -> Option<Vec<u8>> {
    let scheme = url.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(byte)).count();
    let rest = url[scheme..].strip_prefix(b"://").filter(|_| url.first().is_some_and(u8::is_ascii_alphabetic))?;
    let is_file = url[..scheme].eq_ignore_ascii_case(b"file");
    let mut out = url[..scheme + 3].to_vec();
    let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    let (mut host, path) = rest.split_at(end);
    if let Some(at) = host.find_byte(b'@') {
        push_normal(&host[..at], &mut out)?;
        out.push(b'@');
        host = &host[at + 1..];
    }
    check_host(host, is_file)?;
    out.extend_from_slice(host);
    push_path(path, &mut out)?;
    Some(out)
}

/// A host and perhaps a port.
fn check_host(host: &[u8], is_file: bool) -> Option<()> {
    let has_host = !matches!(host.first(), None | Some(b':'));
    if !has_host && !is_file {
        return None;
    }
    // A colon counts as the port's where no bracket of an IPv6 address follows, the first byte's even then.
    let colon = host.iter().rposition(|byte| matches!(byte, b':' | b']')).filter(|&at| host[at] == b':');
    let (name, port) = host.split_at(colon.unwrap_or(host.len()));
    if !has_host && port.len() > 1 {
        return None;
    }
    let is_fine = name.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_[:]".contains(byte));
    let number = port.get(1..).unwrap_or_default();
    let digits = number.trim_start_with(|zero| zero == '0');
    let is_port = match (number, digits) {
        ([], _) => true,
        (_, []) => false,
        (_, digits) if digits.len() <= 5 => digits.to_str().ok()?.parse().is_ok_and(|port: u32| (1..=65535).contains(&port)),
        _ => false,
    };
    (is_fine && is_port && number.iter().all(u8::is_ascii_digit)).then_some(())
}

/// The path with `.` and `..` resolved, then the rest.
fn push_path(path: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    out.push(b'/');
    let mut rest = path.strip_prefix(b"/").unwrap_or(path);
    loop {
        let segment = out.len();
        let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
        push_normal(&rest[..end], out)?;
        let mut has_slash = false;
        match &out[segment..] {
            b"." => {
                has_slash = segment == start + 1;
                out.truncate(if has_slash { segment } else { segment - 1 });
            }
            b".." => {
                if segment == start + 1 {
                    return None;
                }
                let slash = start + out[start..segment - 1].rfind_byte(b'/')?;
                has_slash = slash == start;
                out.truncate(if has_slash { slash + 1 } else { slash });
            }
            _ => {}
        }
        rest = &rest[end..];
        let Some(behind) = rest.strip_prefix(b"/") else { break };
        rest = behind;
        if !has_slash {
            out.push(b'/');
        }
    }
    push_normal(rest, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_or_not_as_git_takes_them() {
        for url in [
            "https://example.com/a.git",
            "../a",
            "../../a:b",
            "./%0a:x",
            "git://h/a",
            "ssh://h/%0a",
            "a b",
            "/x",
            "",
            "https://u:p@h:80/a?b#c",
            "https://[::1]:8080/x",
            "http::file:///x",
            "https://h/%0a/../x",
            "https://h/./a",
            "https://h/a/../b",
            "http://h",
            "ftp://h:00021/",
            "..\\a",
            "https://h:/x",
            "https://%0@h/",
        ] {
            let odd = ["https://%0@h/"].contains(&url);
            assert_eq!(is_allowed(url.as_bytes()), !odd, "{url}");
        }
        for url in [
            "-u",
            "../%0aa",
            "..//h",
            "../:x",
            "./../:x",
            "git://h/%0a",
            "git://h/\n",
            "https://h/%0a",
            "https://u%0a@h/",
            "https:///x",
            "http://:80/",
            "https://h/../x",
            "https://h/a%zz",
            "https://h:0/",
            "https://h:65536/",
            "https://h:x/",
            "https://h_{}/",
            "http::x",
            "https::://x",
            "https://h/?%0a",
            "..\\:x",
            "http::https://h/%0a",
        ] {
            assert!(!is_allowed(url.as_bytes()), "{url}");
        }
    }
}
