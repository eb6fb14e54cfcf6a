//! Log lines in the shape of etcd's: one JSON object a line, with `level`, `ts`, `caller` and `msg`.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats events as etcd does.
#[derive(Clone, Copy, Debug, Default)]
pub struct EtcdFormat;

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        self.0.insert(name.into(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

impl<S, N> FormatEvent<S, N> for EtcdFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let message = fields.0.remove("msg").unwrap_or_default();
        let level = metadata.level().as_str().to_ascii_lowercase();
        let caller = metadata.target().trim_start_matches("detcd::");
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        write!(writer, r#"{{"level":"{level}","ts":"{time}","caller":"#)?;
        write!(writer, "{},\"msg\":{message}", Value::from(format!("{caller}:{}", metadata.line().unwrap_or(0))))?;
        for (name, value) in &fields.0 {
            write!(writer, ",{}:{value}", Value::from(name.as_str()))?;
        }
        writeln!(writer, "}}")
    }
}

/// Sends log lines of `level` and above to stderr, for the rest of the process's life. A line that cannot be written,
/// since nobody reads any more or a disk is full, is lost: a member does not stop for want of a reader.
pub fn install(level: tracing::Level) {
    // The default tells stderr of what stderr did not take, and panics when it does not take that either.
    let lines = tracing_subscriber::fmt().log_internal_errors(false).event_format(EtcdFormat);
    lines.with_writer(std::io::stderr).with_max_level(level).init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_json_object_with_etcds_names() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().event_format(EtcdFormat).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(peer = %"a\"b", count = 3, "odd \"thing\"\n");
        });
        let text = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("UTF-8");
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(line["level"], "warn");
        assert_eq!(line["msg"], "odd \"thing\"\n");
        assert_eq!(line["peer"], "a\"b");
        assert_eq!(line["count"], 3);
        assert!(line["ts"].as_str().is_some_and(|time| time.ends_with('Z')), "{text}");
        assert!(line["caller"].as_str().is_some_and(|caller| caller.starts_with("log_format::")), "{text}");
    }
}
