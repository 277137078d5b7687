//! Settings into logs: what the server says of itself goes to standard error; a line per login, refusal and command, the audit log, goes there
//! too or into a file of its own, as text or as JSON.
//!
//! Text is what `tracing_subscriber` makes of it: values in quotes where they are text. JSON is one object per line: `time`, `event`,
//! then the event's fields. Lines are written whole, to the file's end; one that cannot be written is lost, and serving goes on.

use super::config::{AuditConfig, LogFormat};
use super::failure::Failure;
use crate::transport::{AUDIT_TARGET, json_string};
use std::fmt::{Debug, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{EnvFilter, LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Begin to log at `level`; the audit log as `audit` says. What comes back opens its file anew.
pub(super) fn start(level: &str, audit: &AuditConfig) -> Result<AuditFile, Failure> {
    if !["error", "warn", "info", "debug", "trace"].contains(&level) {
        return Err(Failure::configuration(format!("'{level}' is no level of logging")).hint("error, warn, info, debug or trace"));
    }
    let file = AuditFile::open(&audit.file)?;
    let among_the_others = file.is_none() && audit.format == LogFormat::Text;
    let audit_level = if among_the_others { "info" } else { "off" };
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).with_target(false);
    let log = log.with_filter(EnvFilter::new(format!("packmule={level},{AUDIT_TARGET}={audit_level}")));
    let audits = Targets::new().with_target(AUDIT_TARGET, LevelFilter::INFO);
    let lines: Option<Box<dyn Layer<_> + Send + Sync>> = match (file.clone(), audit.format) {
        (None, LogFormat::Text) => None,
        (None, LogFormat::Json) => Some(JsonLines(std::io::stderr).with_filter(audits).boxed()),
        (Some(file), LogFormat::Json) => Some(JsonLines(move || file.line()).with_filter(audits).boxed()),
        (Some(file), LogFormat::Text) => {
            let text = tracing_subscriber::fmt::layer().with_writer(move || file.line()).with_ansi(false).with_target(false);
            Some(text.with_filter(audits).boxed())
        }
    };
    // A second start in one process keeps the first one's log.
    let _ = tracing_subscriber::registry().with(lines).with(log).try_init();
    Ok(AuditFile(file))
}

/// The file of the audit log, if it has one. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct AuditFile(Option<Arc<Appended>>);

/// A file that lines are put to the end of.
#[derive(Debug)]
struct Appended {
    path: PathBuf,
    file: RwLock<Arc<File>>,
}

/// One line's hold on it.
struct Line(Arc<File>);

impl AuditFile {
    fn open(path: &Path) -> Result<Option<Arc<Appended>>, Failure> {
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let file = open(path).map_err(|error| Failure::io(format!("cannot write the audit log {}: {error}", path.display())))?;
        Ok(Some(Arc::new(Appended { path: path.to_owned(), file: RwLock::new(Arc::new(file)) })))
    }

    /// Go on in a new file where the old one was moved away.
    pub(super) fn reopen(&self) {
        let Some(Appended { path, file }) = self.0.as_deref() else { return };
        match open(path) {
            Ok(new) => *file.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new),
            Err(error) => tracing::error!(file = %path.display(), %error, "the audit log goes on where it was"),
        }
    }
}

/// For nobody else to read.
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

impl Appended {
    fn line(&self) -> Line {
        Line(self.file.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Events into lines of JSON.
struct JsonLines<W>(W);

impl<S: Subscriber, W: for<'w> MakeWriter<'w> + 'static> Layer<S> for JsonLines<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut object = JsonObject::new();
        event.record(&mut object);
        // Whatever became of it, the server serves on.
        let _ = self.0.make_writer().write_all(object.end().as_bytes());
    }
}

/// One object, as far as it is written.
struct JsonObject(String);

impl JsonObject {
    fn new() -> Self {
        let mut time = String::new();
        // Writing to a string cannot fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        Self(format!("{{\"time\":{}", json_string(&time)))
    }

    fn put(&mut self, field: &Field, value: &str) {
        let name = if field.name() == "message" { "event" } else { field.name() };
        let _ = write!(self.0, ",{}:{value}", json_string(name));
    }

    fn end(self) -> String {
        self.0 + "}\n"
    }
}

impl Visit for JsonObject {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        // An array already.
        let value = if field.name() == "refs" { text } else { json_string(&text) };
        self.put(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, &json_string(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, &value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, &value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, &value.to_string());
    }
}
