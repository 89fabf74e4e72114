//! Records in JSON.
//!
//! The form differs from the JSON form of protobuf: ids are hexadecimal, and whole numbers of 64
//! bits may have quotes.

use std::borrow::Cow;

use super::{
    record::{Attributes, RawLogRecord, RawSpan, Value, span_id, trace_id},
    value_json::{MAX_DEPTH, write_bytes, write_float, write_text},
};
use crate::json::{
    FromJson, Malformed, Number, Raw, Reader, Text, TextOr, object, parse, read_value,
};

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
        // Each is read alone: all of their attributes would take much more memory than their text.
        b"events" => events: Vec<Raw<'a>>,
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

/// A value of one of several types. It is empty if its type is unknown.
#[derive(Debug, Default)]
pub(super) struct AnyValue<'a>(Option<Value<'a>>);

pub(super) fn log_record(text: &[u8]) -> Result<RawLogRecord<'_>, Malformed> {
    let members: LogMembers<'_> = parse(text)?;
    Ok(RawLogRecord {
        time: members.time.unwrap_or(0),
        observed_time: members.observed_time.unwrap_or(0),
        event_name: members.event_name.map(Text::read),
        body: members.body.and_then(|body| body.0),
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
    let mut exception = None;
    for Raw(event) in members.events.into_iter().flatten() {
        let SpanEvent { name, attributes: list } = parse(event)?;
        if exception.is_none() && name.is_some_and(|name| name.is("exception")) {
            exception = attributes(list)?.text("exception.message").map(str::to_owned);
        }
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
        if let (Some(key), Some(AnyValue(Some(value)))) = (key, value) {
            attributes.push(key.read(), value)?;
        }
    }
    Ok(attributes)
}

impl<'a> FromJson<'a> for AnyValue<'a> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let mut value = None;
        let is_object = reader.object(|reader, key| {
            if value.is_some() {
                return reader.skip();
            }
            value = match key {
                b"arrayValue" | b"kvlistValue" | b"bytesValue" => {
                    let mut json = String::new();
                    // The depth of lists and maps has a limit of its own.
                    reader.nested(|reader| write_member(key, reader, 0, &mut json))?;
                    (!json.is_empty()).then_some(Value::Json(json))
                }
                _ => read_scalar(key, reader)?,
            };
            Ok(())
        })?;
        *slot = is_object.then_some(Self(value));
        Ok(())
    }
}

/// Reads the member of a value that is a text, a number or a truth value. Skips any other one.
fn read_scalar<'a>(key: &[u8], reader: &mut Reader<'a>) -> Result<Option<Value<'a>>, Malformed> {
    Ok(match key {
        b"stringValue" => reader.text()?.map(|text| Value::Text(text.read())),
        b"boolValue" => read_value(reader)?.map(Value::Bool),
        b"intValue" => read_value(reader)?.and_then(Number::parse).map(Value::Int),
        b"doubleValue" => read_value(reader)?.and_then(Number::parse).map(Value::Double),
        _ => {
            reader.skip()?;
            None
        }
    })
}

/// Reads a value and writes it as JSON. Values below [`MAX_DEPTH`] become `null`.
fn write_value(reader: &mut Reader<'_>, depth: usize, json: &mut String) -> Result<(), Malformed> {
    let start = json.len();
    if depth < MAX_DEPTH {
        reader.nested(|reader| {
            reader.object(|reader, key| {
                if start < json.len() {
                    reader.skip()
                } else {
                    write_member(key, reader, depth, json)
                }
            })
        })?;
    } else {
        reader.skip()?;
    }
    if json.len() == start {
        json.push_str("null");
    }
    Ok(())
}

/// Reads the member of a value at `depth` and writes it as JSON, unless its type is unknown.
fn write_member(
    key: &[u8],
    reader: &mut Reader<'_>,
    depth: usize,
    json: &mut String,
) -> Result<(), Malformed> {
    match key {
        b"arrayValue" => {
            return write_elements(reader, "[]", json, |reader, json| {
                write_value(reader, depth + 1, json)
            });
        }
        b"kvlistValue" => {
            return write_elements(reader, "{}", json, |reader, json| {
                write_entry(reader, depth + 1, json)
            });
        }
        b"bytesValue" => {
            if let Some(bytes) = reader.text()? {
                write_bytes(bytes.raw().len() / 4 * 3, json);
            }
        }
        _ => match read_scalar(key, reader)? {
            Some(Value::Text(text)) => write_text(&text, json),
            Some(Value::Bool(flag)) => json.push_str(if flag { "true" } else { "false" }),
            Some(Value::Int(int)) => json.push_str(&int.to_string()),
            Some(Value::Double(double)) => write_float(double, json),
            Some(Value::Json(_)) | None => {}
        },
    }
    Ok(())
}

/// Reads the elements of a list or a map, and writes them with their brackets.
fn write_elements<'a>(
    reader: &mut Reader<'a>,
    brackets: &str,
    json: &mut String,
    mut write: impl FnMut(&mut Reader<'a>, &mut String) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let (open, close) = brackets.split_at(1);
    json.push_str(open);
    let start = json.len();
    reader.object(|reader, key| {
        if key != b"values" || start < json.len() {
            return reader.skip();
        }
        reader.array(|reader| {
            if start < json.len() {
                json.push(',');
            }
            write(reader, json)
        })?;
        Ok(())
    })?;
    json.push_str(close);
    Ok(())
}

/// Reads an entry of a map, and writes it. The value may come before the key.
fn write_entry(reader: &mut Reader<'_>, depth: usize, json: &mut String) -> Result<(), Malformed> {
    let (mut name, mut value) = (None, None);
    reader.object(|reader, key| {
        match key {
            b"key" if name.is_none() => name = reader.text()?,
            b"value" if value.is_none() => {
                let mut written = String::new();
                write_value(reader, depth, &mut written)?;
                value = Some(written);
            }
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    write_text(&name.map(Text::read).unwrap_or_default(), json);
    json.push(':');
    json.push_str(value.as_deref().unwrap_or("null"));
    Ok(())
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
