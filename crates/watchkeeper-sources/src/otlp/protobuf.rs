//! Records in protobuf.
//!
//! The numbers of the fields are those of `opentelemetry-proto` 1.x. The reader is smaller than
//! messages for a library would be, copies no text, and limits the depth of values.

use std::borrow::Cow;

use super::{
    record::{Attributes, RawLogRecord, RawSpan, Value, span_id, trace_id},
    value_json::{MAX_DEPTH, write_bytes, write_float, write_list, write_map, write_text},
    wire::{Fields, Value as Wire},
};
use crate::json::{Malformed, decode};

/// Calls `field` for each field of a message.
fn read_fields<'a>(
    message: &'a [u8],
    mut field: impl FnMut(u64, Wire<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    Fields::new(message).try_for_each(|read| read.and_then(|(number, value)| field(number, value)))
}

pub(super) fn log_record(message: &[u8]) -> Result<RawLogRecord<'_>, Malformed> {
    let mut record = RawLogRecord::default();
    read_fields(message, |number, value| {
        match (number, value) {
            (1, Wire::Fixed64(time)) => record.time = time,
            (11, Wire::Fixed64(time)) => record.observed_time = time,
            (5, Wire::Bytes(body)) => record.body = any_value(body)?,
            (6, Wire::Bytes(attribute)) => push(&mut record.attributes, attribute)?,
            (9, Wire::Bytes(id)) => record.trace = trace_id(id),
            (10, Wire::Bytes(id)) => record.span = span_id(id),
            (12, Wire::Bytes(name)) => record.event_name = Some(decode(name)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(record)
}

pub(super) fn span(message: &[u8]) -> Result<RawSpan<'_>, Malformed> {
    let mut span = RawSpan::default();
    read_fields(message, |number, value| {
        match (number, value) {
            (1, Wire::Bytes(id)) => span.trace = trace_id(id),
            (2, Wire::Bytes(id)) => span.id = span_id(id),
            (4, Wire::Bytes(id)) => span.parent = span_id(id),
            (5, Wire::Bytes(name)) => span.name = decode(name),
            (7, Wire::Fixed64(time)) => span.start = time,
            (8, Wire::Fixed64(time)) => span.end = time,
            (9, Wire::Bytes(attribute)) => push(&mut span.attributes, attribute)?,
            (11, Wire::Bytes(event)) if span.exception.is_none() => {
                span.exception = exception(event)?;
            }
            (15, Wire::Bytes(status)) => read_fields(status, |number, value| {
                match (number, value) {
                    (2, Wire::Bytes(message)) => span.status_message = Some(decode(message)),
                    (3, Wire::Varint(code)) => span.has_failed = code == 2,
                    _ => {}
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(span)
}

/// Returns the message of an event of a span that is an exception.
fn exception(event: &[u8]) -> Result<Option<String>, Malformed> {
    let mut attributes = Attributes::default();
    let mut is_exception = false;
    read_fields(event, |number, value| {
        match (number, value) {
            (2, Wire::Bytes(name)) => is_exception = name == b"exception",
            (3, Wire::Bytes(attribute)) => push(&mut attributes, attribute)?,
            _ => {}
        }
        Ok(())
    })?;
    let message = || attributes.text("exception.message").map(str::to_owned);
    Ok(is_exception.then(message).flatten())
}

/// Returns the attributes of a resource.
pub(super) fn resource(message: &[u8]) -> Result<Attributes<'_>, Malformed> {
    let mut attributes = Attributes::default();
    for attribute in Fields::new(message).bytes_of(1) {
        push(&mut attributes, attribute?)?;
    }
    Ok(attributes)
}

fn push<'a>(attributes: &mut Attributes<'a>, message: &'a [u8]) -> Result<(), Malformed> {
    let (key, value) = key_value(message)?;
    let value = value.map(any_value).transpose()?.flatten();
    value.map_or(Ok(()), |value| attributes.push(key, value))
}

/// Returns a key and the message of its value.
fn key_value(message: &[u8]) -> Result<(Cow<'_, str>, Option<&[u8]>), Malformed> {
    let (mut key, mut value) = (Cow::default(), None);
    read_fields(message, |number, field| {
        match (number, field) {
            (1, Wire::Bytes(text)) => key = decode(text),
            (2, Wire::Bytes(message)) => value = Some(message),
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, value))
}

/// Returns a value, or `None` if it is empty or of an unknown type.
fn any_value(message: &[u8]) -> Result<Option<Value<'_>>, Malformed> {
    let mut value = None;
    read_fields(message, |number, field| {
        value = match (number, field) {
            (1, Wire::Bytes(text)) => Some(Value::Text(decode(text))),
            (2, Wire::Varint(flag)) => Some(Value::Bool(flag != 0)),
            (3, Wire::Varint(int)) => Some(Value::Int(int.cast_signed())),
            (4, Wire::Fixed64(bits)) => Some(Value::Double(f64::from_bits(bits))),
            (5..=7, Wire::Bytes(_)) => {
                let mut json = String::new();
                write_field(number, field, 0, &mut json)?;
                Some(Value::Json(json))
            }
            _ => return Ok(()),
        };
        Ok(())
    })?;
    Ok(value)
}

/// Writes a value as JSON. Values below [`MAX_DEPTH`] become `null`.
fn write_value(message: &[u8], depth: usize, json: &mut String) -> Result<(), Malformed> {
    match Fields::new(message).last().transpose()? {
        Some((number, field)) if depth < MAX_DEPTH => write_field(number, field, depth, json),
        _ => {
            json.push_str("null");
            Ok(())
        }
    }
}

fn write_field(
    number: u64,
    field: Wire<'_>,
    depth: usize,
    json: &mut String,
) -> Result<(), Malformed> {
    match (number, field) {
        (1, Wire::Bytes(text)) => write_text(&decode(text), json),
        (2, Wire::Varint(flag)) => json.push_str(if flag == 0 { "false" } else { "true" }),
        (3, Wire::Varint(int)) => json.push_str(&int.cast_signed().to_string()),
        (4, Wire::Fixed64(bits)) => write_float(f64::from_bits(bits), json),
        (5, Wire::Bytes(list)) => {
            return write_list(Fields::new(list).bytes_of(1), json, |value, json| {
                write_value(value, depth + 1, json)
            });
        }
        (6, Wire::Bytes(map)) => {
            let entries = Fields::new(map).bytes_of(1).map(|entry| key_value(entry?));
            return write_map(entries, json, |value, json| {
                write_value(value.unwrap_or_default(), depth + 1, json)
            });
        }
        (7, Wire::Bytes(bytes)) => write_bytes(bytes.len(), json),
        _ => json.push_str("null"),
    }
    Ok(())
}
