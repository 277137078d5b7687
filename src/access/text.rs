//! Text that a client chose into text that is safe to show in a terminal, a log line or a packet.

/// `text` with control characters and invisible formatting characters written as escapes, and cut after 256 characters.
pub fn printable(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 256;
    let mut shown = String::with_capacity(text.len());
    for (at, char) in text.chars().enumerate() {
        if at == SHOWN_CHARS_MAX {
            shown.push('…');
            break;
        }
        if is_deceptive(char) {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// Whether a terminal would do something else with it than to show it.
pub(crate) fn is_deceptive(char: char) -> bool {
    // Bidirectional overrides and line separators can make a line lie about its order.
    char.is_control() || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_words_are_not() {
        assert_eq!(printable("größe 'x'"), "größe 'x'");
        assert_eq!(printable("a\x1b[31mb\nc\u{202e}"), "a\\u{1b}[31mb\\nc\\u{202e}");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(printable(&"x".repeat(300)).chars().count(), 257);
    }
}
