//! A configuration, put together in order of precedence, into values by key.
//!
//! Source: git-config, "Values" and "Syntax". Sections and names ignore case, what stands in quotes does not. The last value
//! of a key counts, wherever it stands; where all of them count, they come in order. A value that cannot be understood
//! is an error that names key and file.
//! Limits: of one name given twice in one section, only the last may stand without `=`; an earlier one reads as empty.

use super::Error;
use bstr::{BString, ByteSlice};

/// Values by key, with the file that a bad one stands in.
pub(super) struct Keys<'a>(pub &'a gix_config::File);

/// A value (`None`: the key stands there without `=`), and where it stands.
pub(super) struct Value {
    pub text: Option<BString>,
    key: String,
    origin: String,
}

/// One line of a configuration: names in lower case, the subsection as it is.
pub(super) struct Entry {
    pub section: String,
    pub subsection: Option<BString>,
    pub name: String,
    pub value: Value,
}

impl Entry {
    /// Whether it is `section.name`, without a subsection.
    pub fn is(&self, section: &str, name: &str) -> bool {
        self.subsection.is_none() && self.section == section && self.name == name
    }
}

impl Value {
    pub fn bad(&self) -> Error {
        let text = self.text.as_ref().map_or_else(String::new, |text| format!("'{text}' "));
        Error::Config(format!("{}: bad value {text}of {}", self.origin, self.key))
    }

    /// The key `name` stands there without a value; in git's words.
    pub fn unreadable(&self, name: &str) -> Error {
        let place = match self.origin == ENVIRONMENT {
            true => format!("unable to parse '{name}' from command-line config"),
            false => format!("bad config variable '{name}' in file '{}'", self.origin),
        };
        Error::Config(place)
    }

    pub fn boolean(&self) -> Result<bool, Error> {
        match &self.text {
            None => Ok(true),
            Some(text) => gix_config::Boolean::try_from(text.as_bstr()).map(|value| value.0).map_err(|_| self.bad()),
        }
    }

    pub fn integer(&self) -> Result<i64, Error> {
        let text = self.text.as_ref().ok_or_else(|| self.bad())?;
        gix_config::Integer::from_bytes(text).map_err(|_| self.bad())
    }

    /// A number that means nothing when it is negative: then it is 0.
    pub fn unsigned(&self) -> Result<u64, Error> {
        Ok(u64::try_from(self.integer()?).unwrap_or(0))
    }
}

/// In place of a file.
const ENVIRONMENT: &str = "environment";

fn origin(section: &gix_config::file::SectionRef<'_>) -> String {
    section.meta().path.as_ref().map_or_else(|| ENVIRONMENT.to_owned(), |path| path.display().to_string())
}

impl Keys<'_> {
    pub fn last(&self, section: &str, name: &str) -> Option<Value> {
        let plain = |found: &gix_config::file::SectionRef<'_>| found.header().subsection_name().is_none();
        let sections: Vec<_> = self.0.sections_by_name(section)?.filter(plain).collect();
        sections.iter().rev().find_map(|found| {
            let text = found.value_implicit(name)?;
            Some(Value { text, key: format!("{section}.{name}"), origin: origin(found) })
        })
    }

    pub fn boolean(&self, section: &str, name: &str) -> Result<Option<bool>, Error> {
        self.last(section, name).map(|value| value.boolean()).transpose()
    }

    pub fn unsigned(&self, section: &str, name: &str) -> Result<Option<u64>, Error> {
        self.last(section, name).map(|value| value.unsigned()).transpose()
    }

    /// Every line in order of precedence, the least first.
    pub fn all(&self) -> impl Iterator<Item = Entry> {
        self.0.sections().flat_map(|found| {
            let header = found.header();
            let section = header.name().to_str_lossy().to_ascii_lowercase();
            let subsection: Option<BString> = header.subsection_name().map(ToOwned::to_owned);
            let origin = origin(&found);
            let lines: Vec<_> = found.body().into_iter().collect();
            lines.into_iter().map(move |(name, text)| {
                let implicit = text.is_empty() && found.value_implicit(&name) == Some(None);
                let key = match &subsection {
                    Some(subsection) => format!("{section}.{subsection}.{name}"),
                    None => format!("{section}.{name}"),
                };
                let value = Value { text: (!implicit).then_some(text), key, origin: origin.clone() };
                Entry { section: section.clone(), subsection: subsection.clone(), name: name.to_ascii_lowercase(), value }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_comes_in_order_with_its_spelling() {
        let file = gix_config::File::try_from("[A]\nK=1\nflag\n[b \"Sub.X\"]\nempty=\nk = two \\\n three\n[a]\nk=4\n").unwrap();
        let shown: Vec<_> = Keys(&file)
            .all()
            .map(|entry| {
                let subsection = entry.subsection.map_or_else(String::new, |subsection| format!(".{subsection}"));
                let text = entry.value.text.map_or_else(|| "(none)".to_owned(), |text| text.to_string());
                format!("{}{subsection}.{}={text}", entry.section, entry.name)
            })
            .collect();
        assert_eq!(shown, ["a.k=1", "a.flag=(none)", "b.Sub.X.empty=", "b.Sub.X.k=two  three", "a.k=4"]);
    }
}
