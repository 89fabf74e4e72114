//! Writes a request in JSON as protobuf, with the field numbers of `opentelemetry-proto`.

use serde_json::Value;

/// Returns the protobuf of a request.
pub(crate) fn request(json: &Value) -> Vec<u8> {
    let mut message = Vec::new();
    for (key, scopes, records, write) in [
        ("resourceLogs", "scopeLogs", "logRecords", log_record as fn(&Value) -> Vec<u8>),
        ("resourceSpans", "scopeSpans", "spans", span),
        ("resourceMetrics", "scopeMetrics", "metrics", metric),
    ] {
        for resource in list(&json[key]) {
            let mut written = Vec::new();
            let mut attributes = Vec::new();
            push_attributes(&mut attributes, 1, &resource["resource"]["attributes"]);
            push(&mut written, 1, &attributes);
            for scope in list(&resource[scopes]) {
                let mut written_scope = Vec::new();
                let mut named = Vec::new();
                push_text(&mut named, 1, &scope["scope"]["name"]);
                push(&mut written_scope, 1, &named);
                for record in list(&scope[records]) {
                    push(&mut written_scope, 2, &write(record));
                }
                push(&mut written, 2, &written_scope);
            }
            push(&mut message, 1, &written);
        }
    }
    message
}

fn log_record(json: &Value) -> Vec<u8> {
    let mut message = Vec::new();
    push_fixed(&mut message, 1, &json["timeUnixNano"]);
    push_fixed(&mut message, 11, &json["observedTimeUnixNano"]);
    if !json["body"].is_null() {
        push(&mut message, 5, &any_value(&json["body"]));
    }
    push_attributes(&mut message, 6, &json["attributes"]);
    push_id(&mut message, 9, &json["traceId"]);
    push_id(&mut message, 10, &json["spanId"]);
    push_text(&mut message, 12, &json["eventName"]);
    message
}

fn span(json: &Value) -> Vec<u8> {
    let mut message = Vec::new();
    push_id(&mut message, 1, &json["traceId"]);
    push_id(&mut message, 2, &json["spanId"]);
    push_id(&mut message, 4, &json["parentSpanId"]);
    push_text(&mut message, 5, &json["name"]);
    push_varint(&mut message, 6 << 3);
    push_varint(&mut message, json["kind"].as_u64().unwrap_or(0));
    push_fixed(&mut message, 7, &json["startTimeUnixNano"]);
    push_fixed(&mut message, 8, &json["endTimeUnixNano"]);
    push_attributes(&mut message, 9, &json["attributes"]);
    for event in list(&json["events"]) {
        let mut written = Vec::new();
        push_text(&mut written, 2, &event["name"]);
        push_attributes(&mut written, 3, &event["attributes"]);
        push(&mut message, 11, &written);
    }
    let mut status = Vec::new();
    push_text(&mut status, 2, &json["status"]["message"]);
    push_varint(&mut status, 3 << 3);
    push_varint(&mut status, json["status"]["code"].as_u64().unwrap_or(0));
    push(&mut message, 15, &status);
    // The flags, which are not read.
    push_varint(&mut message, 16 << 3 | 5);
    message.extend(257_u32.to_le_bytes());
    message
}

fn metric(json: &Value) -> Vec<u8> {
    let mut message = Vec::new();
    push_text(&mut message, 1, &json["name"]);
    message
}

fn any_value(json: &Value) -> Vec<u8> {
    let mut message = Vec::new();
    for (key, value) in json.as_object().into_iter().flatten() {
        match key.as_str() {
            "stringValue" => push(&mut message, 1, value.as_str().unwrap_or_default().as_bytes()),
            "boolValue" => {
                push_varint(&mut message, 2 << 3);
                push_varint(&mut message, u64::from(value.as_bool() == Some(true)));
            }
            "intValue" => {
                let int = value.as_i64().or_else(|| value.as_str()?.parse().ok());
                push_varint(&mut message, 3 << 3);
                push_varint(&mut message, int.unwrap_or(0).cast_unsigned());
            }
            "doubleValue" => {
                push_varint(&mut message, 4 << 3 | 1);
                message.extend(value.as_f64().unwrap_or(0.0).to_le_bytes());
            }
            "arrayValue" => {
                let mut list_message = Vec::new();
                for element in list(&value["values"]) {
                    push(&mut list_message, 1, &any_value(element));
                }
                push(&mut message, 5, &list_message);
            }
            "kvlistValue" => {
                let mut map = Vec::new();
                push_attributes(&mut map, 1, &value["values"]);
                push(&mut message, 6, &map);
            }
            _ => {}
        }
    }
    message
}

fn push_attributes(message: &mut Vec<u8>, number: u64, json: &Value) {
    for attribute in list(json) {
        let mut written = Vec::new();
        push_text(&mut written, 1, &attribute["key"]);
        push(&mut written, 2, &any_value(&attribute["value"]));
        push(message, number, &written);
    }
}

fn list(json: &Value) -> impl Iterator<Item = &Value> {
    json.as_array().into_iter().flatten()
}

fn push_text(message: &mut Vec<u8>, number: u64, json: &Value) {
    if let Some(text) = json.as_str() {
        push(message, number, text.as_bytes());
    }
}

fn push_id(message: &mut Vec<u8>, number: u64, json: &Value) {
    let digits = json.as_str().unwrap_or_default().as_bytes();
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap_or(0)).unwrap_or(0);
    let bytes: Vec<u8> =
        digits.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
    push(message, number, &bytes);
}

fn push_fixed(message: &mut Vec<u8>, number: u64, json: &Value) {
    let time = json.as_u64().or_else(|| json.as_str()?.parse().ok());
    push_varint(message, number << 3 | 1);
    message.extend(time.unwrap_or(0).to_le_bytes());
}

fn push(message: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    push_varint(message, number << 3 | 2);
    push_varint(message, bytes.len() as u64);
    message.extend(bytes);
}

fn push_varint(message: &mut Vec<u8>, mut value: u64) {
    while 0x7f < value {
        message.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    message.push(u8::try_from(value).unwrap_or(0));
}
