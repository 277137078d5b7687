//! One Rust source text into what the house rules look at: code without comments, literals and tests.
//!
//! A lexer of the few things that hide code: line and nested block comments, strings (raw and byte ones too), characters
//! against lifetimes. Masked text keeps its line numbers.

/// A file as the rules see it.
pub struct Source {
    /// Path from the package's root, with `/`.
    pub path: String,
    /// The text as it is.
    pub text: String,
    /// The text with comments and the insides of literals blanked, and test modules cut out.
    pub code: String,
}

impl Source {
    /// Look at `text` as the file `path`.
    pub fn new(path: &str, text: &str) -> Self {
        let mut code = mask(text);
        blank_test_modules(&mut code);
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// The first folder or file below `src/`, without `.rs`; `None` elsewhere.
    pub fn floor(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        Some(rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs"))
    }

    /// How many modules deep the file is: `src/pack/mod.rs` 1, `src/pack/delta.rs` 2.
    pub fn depth(&self) -> usize {
        let parts = self.path.split('/').count() - 1;
        if self.path.ends_with("/mod.rs") { parts - 1 } else { parts }
    }

    /// Lines that hold code.
    pub fn code_lines(&self) -> usize {
        self.code.lines().filter(|line| !line.trim().is_empty()).count()
    }

    /// Files that only tests compile: `#[cfg(test)] mod name;`.
    pub fn test_modules(&self) -> Vec<String> {
        let folder = match self.path.rsplit_once('/') {
            Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder.to_owned(),
            _ => self.path.trim_end_matches(".rs").to_owned(),
        };
        let masked = mask(&self.text);
        let mut found = vec![];
        for at in find_all(&masked, "#[cfg(test)]") {
            let rest = masked[at + "#[cfg(test)]".len()..].trim_start();
            let Some((name, _)) = rest.trim_start_matches("pub(crate) ").strip_prefix("mod ").and_then(|rest| rest.split_once(';')) else {
                continue;
            };
            if name.chars().all(is_word) {
                found.push(format!("{folder}/{name}"));
            }
        }
        found
    }

    /// Functions with a body: line of the `fn` (from 1), name, lines.
    pub fn functions(&self) -> Vec<(usize, String, usize)> {
        words(&self.code, "fn").filter_map(|at| function(&self.code, at)).collect()
    }
}

/// The function whose `fn` stands at `at`; `None` for one without a body, and for the type `fn(..)`.
fn function(code: &str, at: usize) -> Option<(usize, String, usize)> {
    let rest = code[at + 2..].trim_start();
    let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
    if name.is_empty() {
        return None;
    }
    let (mut depth, mut inner) = (0usize, 0usize);
    for (n, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => inner += 1,
            b')' | b']' => inner = inner.saturating_sub(1),
            b';' if depth == 0 && inner == 0 => return None,
            b'{' => depth += 1,
            b'}' if depth == 1 => return Some((line_of(code, at), name, line_of(code, n) - line_of(code, at) + 1)),
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// The number of the line that byte `at` stands on, from 1.
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// Whether `c` may stand in an identifier.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every place where `needle` begins.
pub fn find_all<'a>(text: &'a str, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(needle).map(|(at, _)| at)
}

/// Every place where `needle` stands as a word of its own.
pub fn words<'a>(text: &'a str, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
    find_all(text, needle).filter(move |at| {
        !text[..*at].chars().next_back().is_some_and(is_word) && !text[at + needle.len()..].chars().next().is_some_and(is_word)
    })
}

/// Blank what stands in `#[cfg(test)] mod name { .. }`.
fn blank_test_modules(code: &mut String) {
    let places: Vec<usize> = find_all(code, "#[cfg(test)]").collect();
    for at in places {
        let rest = &code[at..];
        let (Some(open), semicolon) = (rest.find('{'), rest.find(';')) else { continue };
        let head = rest["#[cfg(test)]".len()..open].trim_start();
        if semicolon.is_some_and(|semicolon| semicolon < open) || !(head.starts_with("mod ") || head.starts_with("pub(crate) mod ")) {
            continue;
        }
        let (mut depth, mut end) = (0usize, rest.len());
        for (n, byte) in rest.bytes().enumerate().skip(open) {
            depth = match byte {
                b'{' => depth + 1,
                b'}' => depth - 1,
                _ => depth,
            };
            if depth == 0 {
                end = n + 1;
                break;
            }
        }
        let blank = blanked(&code[at..at + end]);
        code.replace_range(at..at + end, &blank);
    }
}

/// As many bytes, nothing but spaces and the line ends.
fn blanked(text: &str) -> String {
    text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

/// Blank comments and the insides of literals; as many bytes come out as went in.
pub fn mask(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let before = text.as_bytes()[..text.len() - rest.len()].last().copied();
        let hidden = hidden_len(rest, before.is_some_and(|byte| is_word(byte as char)));
        let taken = hidden.max(rest.chars().next().map_or(1, char::len_utf8));
        let piece = &rest[..taken];
        if hidden > 0 || !piece.is_ascii() {
            out.push_str(&blanked(piece))
        } else {
            out.push_str(piece)
        }
        rest = &rest[taken..];
    }
    out
}

/// The length of the comment or literal at the start of `rest`; 0 when code stands there.
fn hidden_len(rest: &str, within_word: bool) -> usize {
    let line = || rest.find('\n').unwrap_or(rest.len());
    let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).filter(|_| !within_word).map(|tail| tail.trim_start_matches('#'));
    match rest.as_bytes() {
        [b'/', b'/', ..] => line(),
        [b'/', b'*', ..] => block_comment_len(rest),
        [b'"', ..] => quoted_len(rest, '"'),
        [b'\'', b'\\', ..] => quoted_len(rest, '\''),
        [b'\'', ..] => {
            let mut chars = rest.char_indices().skip(2);
            chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1)
        }
        _ if raw.is_some_and(|tail| tail.starts_with('"')) => {
            let open = rest.find('"').expect("just seen");
            let hashes = rest[..open].matches('#').count();
            let close = format!("\"{}", "#".repeat(hashes));
            rest[open + 1..].find(&close).map_or(rest.len(), |at| open + 1 + at + close.len())
        }
        _ => 0,
    }
}

/// The length of a literal that begins and ends with `quote`.
fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// The length of a block comment, comments within it counted.
fn block_comment_len(rest: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}
