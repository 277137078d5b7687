//! A change of lists and tables of a TOML document into one that leaves comments with what they are about.
//!
//! A comment belongs to what it stands behind on its line, or right above of, without an empty line between; a block of its own stays
//! where it is. New entries of a list look like the one before them.

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, RawString, Table, Value};

fn text(raw: Option<&RawString>) -> String {
    raw.and_then(RawString::as_str).unwrap_or_default().to_owned()
}

/// What stands behind something on its line, and the rest.
fn split_line(text: &str) -> (&str, &str) {
    text.split_at(text.find('\n').unwrap_or(text.len()))
}

/// Before its last line, and that line's beginning with the line end before it.
fn split_last(text: &str) -> (&str, &str) {
    text.split_at(text.rfind('\n').unwrap_or(0))
}

/// A list; `by_line`: one word per line.
pub(super) fn list<'a>(words: impl IntoIterator<Item = &'a str>, by_line: bool) -> Item {
    let mut array: Array = words.into_iter().collect();
    if by_line {
        array.iter_mut().for_each(|value| value.decor_mut().set_prefix("\n    "));
        array.set_trailing_comma(true);
        array.set_trailing("\n");
    }
    toml_edit::value(array)
}

/// `word` as the last one, on a line of its own where the one before it is.
pub(super) fn push(array: &mut Array, word: &str) {
    let (has_comma, trailing) = (array.trailing_comma(), text(Some(array.trailing())));
    let Some(last) = array.len().checked_sub(1).and_then(|at| array.get_mut(at)) else {
        return array.push(word);
    };
    let (prefix, suffix) = (text(last.decor().prefix()), text(last.decor().suffix()));
    let indent = if prefix.contains('\n') { split_last(&prefix).1 } else { " " };
    // A remark behind the last one stays behind it, before the line of the new one.
    let (remark, end) = split_last(if has_comma { &trailing } else { &suffix });
    let mut value = Value::from(word);
    value.decor_mut().set_prefix(format!("{remark}{indent}"));
    if has_comma {
        let end = end.to_owned();
        array.set_trailing(end);
    } else {
        value.decor_mut().set_suffix(end);
        last.decor_mut().set_suffix("");
    }
    array.push_formatted(value);
}

/// Without the one at `at`, and without what is said about it.
pub(super) fn remove(array: &mut Array, at: usize) {
    let is_last = at + 1 == array.len();
    let gone = array.remove(at);
    let (prefix, suffix) = (text(gone.decor().prefix()), text(gone.decor().suffix()));
    let before = split_line(&prefix).0; // about the one before
    let before = if before.contains('#') { before } else { "" };
    if is_last && !array.trailing_comma() {
        if let Some(last) = array.len().checked_sub(1).and_then(|at| array.get_mut(at)) {
            last.decor_mut().set_suffix(format!("{before}{}", split_last(&suffix).1));
        }
    } else if is_last {
        let trailing = text(Some(array.trailing()));
        array.set_trailing(format!("{before}{}", if trailing.contains('#') { split_line(&trailing).1 } else { &trailing }));
        if array.is_empty() {
            array.set_trailing_comma(false);
        }
    } else if let Some(next) = array.get_mut(at) {
        let its = text(next.decor().prefix());
        let (line, rest) = split_line(&its);
        let own = match (at, line.contains('#')) {
            (_, true) => rest,
            (0, false) if rest.is_empty() => &prefix,
            _ => &its,
        };
        next.decor_mut().set_prefix(format!("{before}{own}"));
    }
}

/// Where tables stand in the text, as even numbers: between any two there is room.
fn spread(table: &mut Table) -> isize {
    let doubled = table.position().map(|at| at * 2);
    table.set_position(doubled);
    let mut last = doubled.unwrap_or(0);
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(inner) => last = last.max(spread(inner)),
            Item::ArrayOfTables(inner) => last = inner.iter_mut().map(spread).fold(last, isize::max),
            _ => {}
        }
    }
    last
}

/// Let `table` stand behind the table at `after` (behind all, where that is the last).
fn stand(document: &mut DocumentMut, table: &mut Table, after: Option<isize>, last: isize) {
    let trailing = text(Some(document.trailing()));
    table.set_position(Some(after.unwrap_or(last) + 1));
    let is_last = after.is_none_or(|after| after >= last);
    let above = if is_last && trailing.contains('#') { trailing } else { String::new() };
    if !above.is_empty() {
        document.set_trailing("");
    }
    let is_first = document.as_table().is_empty() && above.is_empty();
    table.decor_mut().set_prefix(if is_first { above } else { format!("{above}\n") });
}

/// A table `[users.NAME]` with this in it, behind those of the others; false: users are written in a way that leaves no place for it.
pub(super) fn add_user(document: &mut DocumentMut, name: &str, mut table: Table) -> bool {
    let last = spread(document.as_table_mut());
    let others = document.get("users").and_then(Item::as_table);
    let after = others.and_then(|others| others.iter().filter_map(|(_, item)| item.as_table()?.position()).max());
    stand(document, &mut table, after, last);
    let users = document.entry("users").or_insert_with(|| {
        let mut users = Table::new();
        users.set_implicit(true);
        Item::Table(users)
    });
    match users {
        Item::Table(users) => users.insert(name, Item::Table(table)).is_none(),
        Item::Value(Value::InlineTable(users)) => users.insert(name, Value::InlineTable(table.into_inline_table())).is_none(),
        _ => false,
    }
}

/// The rules, where each is a table.
pub(super) fn rules(document: &DocumentMut) -> Option<&ArrayOfTables> {
    document.get("rule").and_then(Item::as_array_of_tables)
}

/// A rule before the one at `at`, or behind the last; false: rules are written in a way that leaves no place for it.
pub(super) fn insert_rule(document: &mut DocumentMut, at: usize, mut rule: Table) -> bool {
    let last = spread(document.as_table_mut());
    let before = rules(document).and_then(|rules| rules.get(at)).and_then(Table::position);
    let after = rules(document).and_then(|rules| rules.iter().filter_map(Table::position).max());
    match before {
        Some(before) => {
            rule.set_position(Some(before - 1));
            rule.decor_mut().set_prefix("\n");
        }
        None => stand(document, &mut rule, after, last),
    }
    let Some(rules) = document.entry("rule").or_insert(Item::ArrayOfTables(ArrayOfTables::new())).as_array_of_tables_mut() else {
        return false;
    };
    if let Some(next) = before.and_then(|_| rules.get_mut(at)) {
        let above = text(next.decor().prefix());
        if !above.starts_with('\n') {
            rule.decor_mut().set_prefix("");
            next.decor_mut().set_prefix(format!("\n{above}"));
        }
    }
    rules.insert(at.min(rules.len()), rule);
    true
}

/// The table at `at` of the tables `[[name]]`, and the comment right above it, away; what is said further above stays.
pub(super) fn remove_table(document: &mut DocumentMut, name: &str, at: usize) {
    let Some(tables) = document.get_mut(name).and_then(Item::as_array_of_tables_mut).filter(|tables| at < tables.len()) else { return };
    let gone = tables.remove(at);
    if tables.is_empty() {
        document.remove(name);
    }
    keep_above(document, &gone);
}

/// The table `[users.NAME]` likewise.
pub(super) fn remove_user(document: &mut DocumentMut, name: &str) {
    let Some(users) = document.get_mut("users").and_then(Item::as_table_like_mut) else { return };
    let gone = users.remove(name);
    // A table that is written by nobody but its last entry goes with it.
    if users.is_empty() {
        document.remove("users");
    }
    if let Some(Item::Table(gone)) = gone {
        keep_above(document, &gone);
    }
}

/// Blocks of comments above the table `gone` that are not right above it stand above the next one.
fn keep_above(document: &mut DocumentMut, gone: &Table) {
    let above = text(gone.decor().prefix());
    let kept = above.rfind("\n\n").map_or("", |end| &above[..end]);
    if !kept.contains('#') {
        return;
    }
    let position = gone.position().unwrap_or(isize::MAX);
    match next_after(document.as_table_mut(), position) {
        Some(next) => {
            let its = text(next.decor().prefix());
            next.decor_mut().set_prefix(format!("{kept}\n{its}"));
        }
        None => {
            let trailing = text(Some(document.trailing()));
            document.set_trailing(format!("{kept}\n{trailing}"));
        }
    }
}

/// The table that follows next in the text.
fn next_after(table: &mut Table, position: isize) -> Option<&mut Table> {
    let mut tables = vec![];
    let mut below = vec![table];
    while let Some(table) = below.pop() {
        if table.position().is_some_and(|at| at > position) {
            tables.push(table);
            continue;
        }
        for (_, item) in table.iter_mut() {
            match item {
                Item::Table(inner) => below.push(inner),
                Item::ArrayOfTables(inner) => below.extend(inner.iter_mut()),
                _ => {}
            }
        }
    }
    tables.into_iter().min_by_key(|table| table.position())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list of `x = [...]`, changed.
    fn changed(list: &str, change: impl Fn(&mut Array)) -> String {
        let mut document: DocumentMut = format!("x = {list}\n").parse().expect("TOML");
        change(document["x"].as_array_mut().expect("a list"));
        let text = document.to_string();
        text.parse::<DocumentMut>().unwrap_or_else(|error| panic!("{text}: {error}"));
        text.trim_start_matches("x = ").trim_end().to_owned()
    }

    #[test]
    fn a_new_word_looks_like_the_one_before() {
        for (before, after) in [
            ("[]", r#"["n"]"#),
            (r#"["a"]"#, r#"["a", "n"]"#),
            (r#"[ "a" ]"#, r#"[ "a", "n" ]"#),
            ("[\n  \"a\",\n]", "[\n  \"a\",\n  \"n\",\n]"),
            ("[\n  \"a\"\n]", "[\n  \"a\",\n  \"n\"\n]"),
            ("[\n  \"a\", # about a\n]", "[\n  \"a\", # about a\n  \"n\",\n]"),
            ("[\n  # about a\n  \"a\",\n  # the end\n]", "[\n  # about a\n  \"a\",\n  # the end\n  \"n\",\n]"),
        ] {
            assert_eq!(changed(before, |array| push(array, "n")), after, "{before}");
        }
    }

    #[test]
    fn what_is_said_of_a_word_goes_with_it_and_nothing_else_does() {
        for (before, at, after) in [
            (r#"["a", "b"]"#, 0, r#"["b"]"#),
            (r#"["a", "b"]"#, 1, r#"["a"]"#),
            (r#"["a"]"#, 0, "[]"),
            ("[\n  \"a\", # about a\n  \"b\", # about b\n]", 0, "[\n  \"b\", # about b\n]"),
            ("[\n  \"a\", # about a\n  \"b\", # about b\n]", 1, "[\n  \"a\", # about a\n]"),
            ("[\n  \"a\",\n  # about b\n  \"b\",\n  \"c\",\n]", 1, "[\n  \"a\",\n  \"c\",\n]"),
            ("[\n  \"a\", # about a\n  \"b\",\n  \"c\",\n]", 1, "[\n  \"a\", # about a\n  \"c\",\n]"),
            ("[\n  \"a\",\n  \"b\"\n]", 1, "[\n  \"a\"\n]"),
        ] {
            assert_eq!(changed(before, |array| remove(array, at)), after, "{before}");
        }
    }

    const TEXT: &str = r#"# the top
root = "r"

[users.ann]

# what they may

# the first
[[rule]]
users = ["ann"] # she

# the second
[[rule]]
users = ["bob"]

[groups]
staff = []

# the end
"#;

    fn document() -> DocumentMut {
        TEXT.parse().expect("TOML")
    }

    fn rule(user: &str) -> Table {
        let mut table = Table::new();
        table.insert("users", list([user], false));
        table
    }

    #[test]
    fn a_rule_goes_where_it_is_put_and_leaves_all_others_as_they_are() {
        let new = "\n[[rule]]\nusers = [\"n\"]\n";
        for (at, before) in [(0, "\n# what they may\n"), (1, "\n# the second\n"), (2, "\n[groups]\n")] {
            let mut document = document();
            assert!(insert_rule(&mut document, at, rule("n")));
            let (head, tail) = TEXT.split_once(before).expect("there");
            assert_eq!(document.to_string(), format!("{head}{new}{before}{tail}"), "{at}");
        }
        for text in ["", "# nothing yet\n", "root = \"x\"\n", "root = \"x\"\n# and\n"] {
            let mut document: DocumentMut = text.parse().expect("TOML");
            assert!(insert_rule(&mut document, 0, rule("n")));
            assert_eq!(document.to_string().trim_start(), format!("{text}{new}").trim_start(), "{text:?}");
        }
        let mut document: DocumentMut = "[[rule]]\nusers = [\"a\"]\n".parse().expect("TOML");
        assert!(insert_rule(&mut document, 0, rule("n")));
        assert_eq!(document.to_string(), "[[rule]]\nusers = [\"n\"]\n\n[[rule]]\nusers = [\"a\"]\n");
    }

    #[test]
    fn a_rule_that_goes_takes_its_own_comment_along_and_no_other() {
        let mut first = document();
        remove_table(&mut first, "rule", 0);
        let left = TEXT.replace("# the first\n[[rule]]\nusers = [\"ann\"] # she\n\n", "");
        assert_eq!(first.to_string(), left);
        let mut second = document();
        remove_table(&mut second, "rule", 1);
        assert_eq!(second.to_string(), TEXT.replace("# the second\n[[rule]]\nusers = [\"bob\"]\n\n", ""));
        remove_table(&mut second, "rule", 0);
        assert!(rules(&second).is_none() && second.to_string().contains("# what they may\n"), "{second}");
    }

    #[test]
    fn a_user_stands_behind_the_others() {
        let mut document = document();
        assert!(add_user(&mut document, "b@x", Table::new()));
        assert_eq!(document.to_string(), TEXT.replace("[users.ann]\n", "[users.ann]\n\n[users.\"b@x\"]\n"));
        remove_user(&mut document, "b@x");
        assert_eq!(document.to_string(), TEXT);
        remove_user(&mut document, "ann");
        assert_eq!(document.to_string(), TEXT.replace("[users.ann]\n\n", ""));
        let mut inline: DocumentMut = "users = { ann = {} }\n".parse().expect("TOML");
        assert!(add_user(&mut inline, "bob", Table::new()));
        assert_eq!(inline.to_string(), "users = { ann = {} , bob = {} }\n");
    }
}
