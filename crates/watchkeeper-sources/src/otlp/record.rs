//! The records of OTLP in one form, whatever the encoding is.

use std::borrow::Cow;

use jiff::Timestamp;
use watchkeeper_core::Fingerprint;

use crate::json::Malformed;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Int(i64),
    Double(f64),
    Bool(bool),
    /// The JSON text of a list or a map.
    Json(String),
}

/// The attributes of a record, a scope or a resource. Of two with the same key, the first counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Attributes<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

/// A log record.
#[derive(Debug)]
pub(super) struct LogRecord<'a> {
    pub(super) at: Timestamp,
    /// The name of the event: a field of its own, an attribute, or the body.
    pub(super) name: Cow<'a, str>,
    pub(super) attributes: Attributes<'a>,
    pub(super) trace: Option<u128>,
    pub(super) span: Option<u64>,
}

/// A span.
#[derive(Debug)]
pub(super) struct Span<'a> {
    pub(super) trace: u128,
    pub(super) id: u64,
    pub(super) has_parent: bool,
    pub(super) name: Cow<'a, str>,
    pub(super) start: Timestamp,
    /// The end; `None` if the span has not ended.
    pub(super) end: Option<Timestamp>,
    pub(super) attributes: Attributes<'a>,
    /// Whether the status is an error.
    pub(super) has_failed: bool,
    pub(super) status_message: Option<Cow<'a, str>>,
    /// The message of the exception that the span recorded.
    pub(super) exception: Option<String>,
}

/// The members of a log record, before they are checked.
#[derive(Debug, Default)]
pub(super) struct RawLogRecord<'a> {
    pub(super) time: u64,
    pub(super) observed_time: u64,
    pub(super) event_name: Option<Cow<'a, str>>,
    pub(super) body: Option<Value<'a>>,
    pub(super) attributes: Attributes<'a>,
    pub(super) trace: Option<u128>,
    pub(super) span: Option<u64>,
}

/// The members of a span, before they are checked.
#[derive(Debug, Default)]
pub(super) struct RawSpan<'a> {
    pub(super) trace: Option<u128>,
    pub(super) id: Option<u64>,
    pub(super) parent: Option<u64>,
    pub(super) name: Cow<'a, str>,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: Attributes<'a>,
    pub(super) has_failed: bool,
    pub(super) status_message: Option<Cow<'a, str>>,
    pub(super) exception: Option<String>,
}

/// The largest number of attributes of a record.
const MAX_ATTRIBUTES: usize = 4096;

impl<'a> Attributes<'a> {
    /// Adds an attribute. Fails if there are too many.
    pub(super) fn push(&mut self, key: Cow<'a, str>, value: Value<'a>) -> Result<(), Malformed> {
        if self.0.len() == MAX_ATTRIBUTES {
            return Err("too many attributes");
        }
        self.0.push((key, value));
        Ok(())
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|(own, _)| own == key).map(|(_, value)| value)
    }

    /// Returns a text that is not empty, or the JSON text of a list or a map.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::Text(text) => Some(&**text).filter(|text| !text.is_empty()),
            Value::Json(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the first of several texts that there is.
    pub(super) fn first_text(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| self.text(key))
    }

    /// Returns a count, which may be written as a float or a text.
    pub(super) fn count(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Value::Int(int) => u64::try_from(*int).ok(),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the range is checked, and fractions of a token do not exist"
            )]
            Value::Double(double) => (0.0..1e19).contains(double).then_some(*double as u64),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Returns the first of several counts that there is.
    pub(super) fn first_count(&self, keys: &[&str]) -> Option<u64> {
        keys.iter().find_map(|key| self.count(key))
    }

    /// Returns a number that is finite.
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        let number = match self.get(key)? {
            #[expect(clippy::cast_precision_loss, reason = "amounts of money are small")]
            Value::Int(int) => *int as f64,
            Value::Double(double) => *double,
            Value::Text(text) => text.parse().ok()?,
            _ => return None,
        };
        number.is_finite().then_some(number)
    }

    /// Returns a truth value, which may be written as a text.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(flag) => Some(*flag),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

impl<'a> RawLogRecord<'a> {
    pub(super) fn checked(self) -> Result<LogRecord<'a>, Malformed> {
        let time = if self.time == 0 { self.observed_time } else { self.time };
        let stated = || self.attributes.text("event.timestamp")?.parse().ok();
        let at = timestamp(time).or_else(stated).ok_or("no time")?;
        let body = || match &self.body {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        };
        // Some exporters for Rust fill the field of the name with a line of their source.
        let name = match self.attributes.get("event.name") {
            Some(Value::Text(name)) => Some(name.clone()),
            _ => self.event_name.filter(|name| !name.is_empty()).or_else(body),
        };
        Ok(LogRecord {
            at,
            name: name.unwrap_or_default(),
            attributes: self.attributes,
            trace: self.trace,
            span: self.span,
        })
    }
}

impl<'a> RawSpan<'a> {
    pub(super) fn checked(self) -> Result<Span<'a>, Malformed> {
        let start = timestamp(self.start).ok_or("no time")?;
        Ok(Span {
            trace: self.trace.ok_or("invalid trace id")?,
            id: self.id.ok_or("invalid span id")?,
            has_parent: self.parent.is_some(),
            name: self.name,
            start,
            end: timestamp(self.end).map(|end| end.max(start)),
            attributes: self.attributes,
            has_failed: self.has_failed,
            status_message: self.status_message.filter(|message| !message.is_empty()),
            exception: self.exception,
        })
    }
}

impl Span<'_> {
    /// Returns the key of the span, the same in each export of the span.
    pub(super) fn key(&self) -> Fingerprint {
        trace_key(self.trace).and(Fingerprint::from(self.id))
    }
}

/// Returns the key of a trace.
pub(super) fn trace_key(trace: u128) -> Fingerprint {
    #[expect(clippy::cast_possible_truncation, reason = "both halves are hashed")]
    let halves = [(trace >> 64) as u64, trace as u64];
    Fingerprint::from(halves[0]).and(Fingerprint::from(halves[1]))
}

/// Returns a time in nanoseconds since 1970, unless the time is zero, which stands for none.
fn timestamp(nanos: u64) -> Option<Timestamp> {
    (nanos != 0).then(|| Timestamp::from_nanosecond(nanos.into()).ok())?
}

/// Returns the id of a trace in bytes; an id of zeros is none.
pub(super) fn trace_id(bytes: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(bytes.try_into().ok()?)).filter(|id| *id != 0)
}

/// Returns the id of a span in bytes; an id of zeros is none.
pub(super) fn span_id(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?)).filter(|id| *id != 0)
}
