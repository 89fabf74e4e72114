//! Diagnostics of the program: `tracing` events, written to standard error.
//!
//! Field values can contain text from an agent, so the layer escapes all of them
//! with [`make_safe`].

use std::{
    ffi::OsString,
    fmt::{Debug, Write as _},
};

use serde_json::{Map, Value};
use thiserror::Error;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, ParseError, Targets},
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};
use watchkeeper_core::{
    author::make_safe,
    clock::{Clock as _, SystemClock},
    quote,
};

use crate::{
    causes::with_causes,
    global::{Global, LogFormat},
    output::{Style, Styles},
    standard_error,
};

/// Environment variable with targets and levels.
const VARIABLE: &str = "WATCHKEEPER_LOG";

/// The log cannot be set up.
#[derive(Debug, Error)]
pub(crate) enum LoggingError {
    #[error(
        "invalid {VARIABLE} {value}; expected targets and levels, such as \
         `watchkeeper::source=debug,info`"
    )]
    Filter {
        /// The value, quoted.
        value: String,
        source: ParseError,
    },
    #[error("{VARIABLE} {value} is not UTF-8")]
    NotUtf8 {
        /// The value, quoted.
        value: String,
    },
    #[error("cannot install the log subscriber")]
    Install(#[from] tracing_subscriber::util::TryInitError),
}

/// Installs the log subscriber of the process if `-v` or `WATCHKEEPER_LOG` enables
/// diagnostics.
pub(crate) fn install(global: &Global, styles: Styles) -> Result<(), LoggingError> {
    let Some(filter) = filter(global.verbosity(), std::env::var_os(VARIABLE))? else {
        return Ok(());
    };
    let layer = LogLayer { format: global.log_format, styled: styles.err };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
    Ok(())
}

/// Returns the enabled targets and levels, or `None` if nothing is enabled.
/// `WATCHKEEPER_LOG` takes precedence over `-v`.
fn filter(verbosity: u8, variable: Option<OsString>) -> Result<Option<Targets>, LoggingError> {
    if let Some(value) = variable.filter(|value| !value.is_empty()) {
        let text = value
            .to_str()
            .ok_or_else(|| LoggingError::NotUtf8 { value: quote(&value.to_string_lossy()) })?;
        let filter = text
            .parse::<Targets>()
            .map_err(|source| LoggingError::Filter { value: quote(text), source })?;
        return Ok(Some(filter));
    }
    let level = match verbosity {
        0 => return Ok(None),
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // The prefix of our targets; dependencies are logged only on request.
    Ok(Some(Targets::new().with_target("watchkeeper", level)))
}

/// Writes each event as one line to standard error.
struct LogLayer {
    format: LogFormat,
    styled: bool,
}

/// Fields of a span or an event: names and escaped values, in order.
#[derive(Default)]
struct Fields {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

/// Fields of a span, kept with the span.
struct SpanFields(Fields);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn on_new_span(
        &self,
        attributes: &span::Attributes<'_>,
        id: &span::Id,
        context: Context<'_, S>,
    ) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(SpanFields(fields));
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(SpanFields(fields)) = span.extensions_mut().get_mut() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut spans: Vec<(&'static str, Vec<(&'static str, Value)>)> = Vec::new();
        for span in context.event_scope(event).into_iter().flatten() {
            let extensions = span.extensions();
            let fields = extensions.get::<SpanFields>().map(|it| it.0.fields.clone());
            spans.push((span.name(), fields.unwrap_or_default()));
        }
        spans.reverse();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let line = match self.format {
            LogFormat::Text => text_line(metadata, &spans, &fields, self.styled),
            LogFormat::Json => json_line(metadata, spans, fields),
        };
        standard_error::write_line(&line);
    }
}

fn text_line(
    metadata: &tracing::Metadata<'_>,
    spans: &[(&'static str, Vec<(&'static str, Value)>)],
    event: &Fields,
    styled: bool,
) -> String {
    let style = match *metadata.level() {
        Level::ERROR => Style::Red,
        Level::WARN => Style::Yellow,
        Level::INFO => Style::Green,
        _ => Style::Cyan,
    };
    let at = Style::Dim.paint(&format!("{:.3}", SystemClock.now()), styled);
    let level = style.paint(&format!("{:>5}", metadata.level()), styled);
    let target = Style::Dim.paint(&format!("{}:", metadata.target()), styled);
    let mut line = format!("{at} {level} {target} ");
    for (name, fields) in spans {
        line.push_str(name);
        if !fields.is_empty() {
            line.push('{');
            line.push_str(text_fields(fields, styled).trim_start());
            line.push('}');
        }
        line.push_str(": ");
    }
    line.push_str(&event.message);
    line.push_str(&text_fields(&event.fields, styled));
    line.push('\n');
    line
}

fn text_fields(fields: &[(&'static str, Value)], styled: bool) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        let name = Style::Dim.paint(&format!("{name}="), styled);
        // Writing to a string cannot fail.
        let _ = match value {
            Value::String(value) if value.is_empty() || value.contains(char::is_whitespace) => {
                write!(text, " {name}{value:?}")
            }
            Value::String(value) => write!(text, " {name}{value}"),
            value => write!(text, " {name}{value}"),
        };
    }
    text
}

fn json_line(
    metadata: &tracing::Metadata<'_>,
    spans: Vec<(&'static str, Vec<(&'static str, Value)>)>,
    event: Fields,
) -> String {
    let object = |fields: Vec<(&'static str, Value)>| -> Map<String, Value> {
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    };
    let spans = spans.into_iter().map(|(name, fields)| {
        let mut span = object(fields);
        span.insert("name".to_owned(), name.into());
        Value::Object(span)
    });
    let line = serde_json::json!({
        "at": format!("{:.3}", SystemClock.now()),
        "level": metadata.level().as_str().to_ascii_lowercase(),
        "target": metadata.target(),
        "message": event.message,
        "fields": object(event.fields),
        "spans": spans.collect::<Vec<_>>(),
    });
    format!("{line}\n")
}

impl Fields {
    fn push(&mut self, field: &Field, value: Value) {
        // A recorded value replaces the value of the same field.
        self.fields.retain(|(name, _)| *name != field.name());
        self.fields.push((field.name(), value));
    }

    fn push_text(&mut self, field: &Field, text: &str) {
        let text = make_safe(text);
        if field.name() == "message" {
            self.message = text;
        } else {
            self.push(field, text.into());
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.push_text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push_text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.push_text(field, &with_causes(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::{LoggingError, filter};

    #[test]
    fn diagnostics_are_off_by_default() {
        assert!(filter(0, None).unwrap().is_none());
        assert!(filter(0, Some("".into())).unwrap().is_none());
    }

    #[test]
    fn each_verbose_flag_enables_one_more_level() {
        for (verbosity, enabled, disabled) in
            [(1, Level::INFO, Level::DEBUG), (2, Level::DEBUG, Level::TRACE)]
        {
            let filter = filter(verbosity, None).unwrap().unwrap();
            assert!(filter.would_enable("watchkeeper::source", &enabled));
            assert!(!filter.would_enable("watchkeeper::source", &disabled));
            assert!(!filter.would_enable("rustls", &Level::ERROR));
        }
        let filter = filter(3, None).unwrap().unwrap();
        assert!(filter.would_enable("watchkeeper::source", &Level::TRACE));
    }

    #[test]
    fn the_environment_variable_takes_precedence() {
        let filter = filter(3, Some("watchkeeper::source=debug,info".into())).unwrap().unwrap();
        assert!(filter.would_enable("watchkeeper::source", &Level::DEBUG));
        assert!(filter.would_enable("rustls", &Level::INFO));
        assert!(!filter.would_enable("watchkeeper::sink", &Level::DEBUG));
    }

    #[test]
    fn an_invalid_filter_is_an_error() {
        let err = filter(0, Some("watchkeeper=loud".into())).unwrap_err();
        assert!(matches!(err, LoggingError::Filter { .. }), "{err}");
    }
}
