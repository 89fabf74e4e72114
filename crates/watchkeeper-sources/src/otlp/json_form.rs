//! Records in JSON.
//!
//! The form differs from the JSON form of protobuf: ids are hexadecimal, and whole numbers of 64
//! bits may have quotes.

use std::borrow::Cow;

use super::{
    record::{Attributes, RawLogRecord, RawSpan, Value, span_id, trace_id},
    value_json::{MAX_DEPTH, write_bytes, write_float, write_list, write_map, write_text},
};
use crate::json::{Malformed, Number, Raw, Text, TextOr, object, parse};

object! {
    /// A request, or a line of a file.
    pub(super) struct Request<'a> {
        b"resourceLogs" => logs: Vec<Raw<'a>>,
        b"resourceSpans" => spans: Vec<Raw<'a>>,
        b"resourceMetrics" => metrics: Vec<Raw<'a>>,
    }
}

object! {
    /// The records of a resource.
    pub(super) struct ResourceRecords<'a> {
        b"resource" => resource: Holder<'a>,
        b"scopeLogs" | b"scopeSpans" | b"scopeMetrics" => scopes: Vec<Raw<'a>>,
    }
}

object! {
    /// The records of a scope.
    pub(super) struct ScopeRecords<'a> {
        b"scope" => scope: Scope<'a>,
        b"logRecords" | b"spans" | b"metrics" => records: Vec<Raw<'a>>,
    }
}

object! {
    pub(super) struct Scope<'a> {
        b"name" => name: Text<'a>,
    }
}

object! {
    /// An object with attributes.
    pub(super) struct Holder<'a> {
        b"attributes" => attributes: Vec<KeyValue<'a>>,
    }
}

object! {
    struct LogMembers<'a> {
        b"timeUnixNano" => time: u64,
        b"observedTimeUnixNano" => observed_time: u64,
        b"eventName" => event_name: Text<'a>,
        b"body" => body: AnyValue<'a>,
        b"attributes" => attributes: Vec<KeyValue<'a>>,
        b"traceId" => trace: Text<'a>,
        b"spanId" => span: Text<'a>,
    }
}

object! {
    struct SpanMembers<'a> {
        b"traceId" => trace: Text<'a>,
        b"spanId" => id: Text<'a>,
        b"parentSpanId" => parent: Text<'a>,
        b"name" => name: Text<'a>,
        b"startTimeUnixNano" => start: u64,
        b"endTimeUnixNano" => end: u64,
        b"attributes" => attributes: Vec<KeyValue<'a>>,
        b"events" => events: Vec<SpanEvent<'a>>,
        b"status" => status: Status<'a>,
    }
}

object! {
    struct SpanEvent<'a> {
        b"name" => name: Text<'a>,
        b"attributes" => attributes: Vec<KeyValue<'a>>,
    }
}

object! {
    struct Status<'a> {
        b"code" => code: TextOr<'a, u64>,
        b"message" => message: Text<'a>,
    }
}

object! {
    pub(super) struct KeyValue<'a> {
        b"key" => key: Text<'a>,
        b"value" => value: AnyValue<'a>,
    }
}

object! {
    /// A value of one of several types.
    pub(super) struct AnyValue<'a> {
        b"stringValue" => text: Text<'a>,
        b"boolValue" => flag: bool,
        b"intValue" => int: Number<'a>,
        b"doubleValue" => double: Number<'a>,
        b"arrayValue" => list: Raw<'a>,
        b"kvlistValue" => map: Raw<'a>,
        b"bytesValue" => bytes: Text<'a>,
    }
}

object! {
    struct List<'a> {
        b"values" => values: Vec<Raw<'a>>,
    }
}

pub(super) fn log_record(text: &[u8]) -> Result<RawLogRecord<'_>, Malformed> {
    let members: LogMembers<'_> = parse(text)?;
    Ok(RawLogRecord {
        time: members.time.unwrap_or(0),
        observed_time: members.observed_time.unwrap_or(0),
        event_name: members.event_name.map(Text::read),
        body: members.body.map(|body| body.value()).transpose()?.flatten(),
        attributes: attributes(members.attributes)?,
        trace: members.trace.and_then(hex).as_deref().and_then(trace_id),
        span: members.span.and_then(hex).as_deref().and_then(span_id),
    })
}

pub(super) fn span(text: &[u8]) -> Result<RawSpan<'_>, Malformed> {
    let members: SpanMembers<'_> = parse(text)?;
    let status = members.status.unwrap_or_default();
    let has_failed = status.code.is_some_and(|code| match code {
        TextOr::Text(code) => code.is("2") || code.is("STATUS_CODE_ERROR"),
        TextOr::Other(code) => code == 2,
    });
    let exceptions = members.events.into_iter().flatten();
    let exceptions = exceptions.filter(|event| event.name.is_some_and(|it| it.is("exception")));
    let mut exception = None;
    for event in exceptions {
        let attributes = attributes(event.attributes)?;
        exception = exception.or_else(|| attributes.text("exception.message").map(str::to_owned));
    }
    Ok(RawSpan {
        trace: members.trace.and_then(hex).as_deref().and_then(trace_id),
        id: members.id.and_then(hex).as_deref().and_then(span_id),
        parent: members.parent.and_then(hex).as_deref().and_then(span_id),
        name: members.name.map(Text::read).unwrap_or_default(),
        start: members.start.unwrap_or(0),
        end: members.end.unwrap_or(0),
        attributes: attributes(members.attributes)?,
        has_failed,
        status_message: status.message.map(Text::read),
        exception,
    })
}

/// Converts a list of attributes.
pub(super) fn attributes(list: Option<Vec<KeyValue<'_>>>) -> Result<Attributes<'_>, Malformed> {
    let mut attributes = Attributes::default();
    for KeyValue { key, value } in list.into_iter().flatten() {
        if let (Some(key), Some(value)) = (key, value)
            && let Some(value) = value.value()?
        {
            attributes.push(key.read(), value)?;
        }
    }
    Ok(attributes)
}

impl<'a> AnyValue<'a> {
    /// Returns the value, or `None` if it is empty or of an unknown type.
    fn value(&self) -> Result<Option<Value<'a>>, Malformed> {
        if self.list.is_some() || self.map.is_some() || self.bytes.is_some() {
            let mut json = String::new();
            self.write(0, &mut json)?;
            return Ok(Some(Value::Json(json)));
        }
        let text = self.text.map(|text| Value::Text(text.read()));
        let flag = || self.flag.map(Value::Bool);
        let int = || self.int.and_then(Number::parse).map(Value::Int);
        let double = || self.double.and_then(Number::parse).map(Value::Double);
        Ok(text.or_else(flag).or_else(int).or_else(double))
    }

    /// Writes the value as JSON. Values below [`MAX_DEPTH`] become `null`.
    fn write(&self, depth: usize, json: &mut String) -> Result<(), Malformed> {
        if MAX_DEPTH <= depth {
            json.push_str("null");
        } else if let Some(Raw(list)) = self.list {
            let values = parse::<List<'_>>(list)?.values.into_iter().flatten();
            return write_list(
                values.map(|value| parse::<AnyValue<'_>>(value.0)),
                json,
                |value, json| value.write(depth + 1, json),
            );
        } else if let Some(Raw(map)) = self.map {
            let entries = parse::<List<'_>>(map)?.values.into_iter().flatten();
            let entries = entries.map(|entry| {
                let KeyValue { key, value } = parse(entry.0)?;
                Ok((key.map(Text::read).unwrap_or_default(), value.unwrap_or_default()))
            });
            return write_map(entries, json, |value, json| value.write(depth + 1, json));
        } else if let Some(bytes) = self.bytes {
            write_bytes(bytes.raw().len() / 4 * 3, json);
        } else {
            match self.value()? {
                Some(Value::Text(text)) => write_text(&text, json),
                Some(Value::Bool(flag)) => json.push_str(if flag { "true" } else { "false" }),
                Some(Value::Int(int)) => json.push_str(&int.to_string()),
                Some(Value::Double(double)) => write_float(double, json),
                Some(Value::Json(_)) | None => json.push_str("null"),
            }
        }
        Ok(())
    }
}

/// Returns the bytes of an id in hexadecimal digits.
fn hex(text: Text<'_>) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let (pairs, rest) = text.raw().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    // The longest id has 16 bytes.
    if rest.is_empty() && pairs.len() <= 16 { bytes.collect() } else { None }
}

/// Returns the name of a scope.
pub(super) fn scope_name<'a>(scope: Option<&Scope<'a>>) -> Cow<'a, str> {
    scope.and_then(|scope| scope.name).map(Text::read).unwrap_or_default()
}
