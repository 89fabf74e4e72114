//! The frame of an export request: resources, scopes, and the bytes of their records.
//!
//! The whole frame is checked before the first record is read, so that a request is refused as
//! a whole, and a malformed record is rejected alone.

use std::borrow::Cow;

use super::{
    json_form::{self, Request, ResourceRecords, ScopeRecords},
    protobuf,
    record::{Attributes, LogRecord, Span},
    request::{Encoding, Signal},
    wire::Fields,
};
use crate::json::{Malformed, Raw, decode, parse};

/// The records of one resource.
#[derive(Debug)]
pub(super) struct Resource<'a> {
    pub(super) attributes: Attributes<'a>,
    pub(super) scopes: Vec<Scope<'a>>,
}

/// The records of one scope: a library, or a part of a program.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) records: Vec<&'a [u8]>,
}

/// The largest number of records, scopes and resources in a request, which bounds the memory
/// that a small request takes. Clients send 512 records by default.
const MAX_PARTS: usize = 1 << 16;

/// Counts the parts of a request.
struct Room(usize);

impl Room {
    fn take(&mut self) -> Result<(), Malformed> {
        self.0 = self.0.checked_sub(1).ok_or("too many records")?;
        Ok(())
    }
}

/// Reads the frame of a request.
pub(super) fn frame(
    signal: Signal,
    encoding: Encoding,
    body: &[u8],
) -> Result<Vec<Resource<'_>>, Malformed> {
    let room = &mut Room(MAX_PARTS);
    match encoding {
        Encoding::Protobuf => {
            let resources = Fields::new(body).bytes_of(1);
            resources.map(|resource| protobuf_resource(resource?, room)).collect()
        }
        Encoding::Json => {
            let mut request: Request<'_> = parse(body)?;
            let resources = request.take(signal).unwrap_or_default().into_iter();
            resources.map(|resource| json_resource(resource.0, room)).collect()
        }
    }
}

/// Reads the frame of a line of a file, which contains one request.
pub(super) fn frame_of_line(line: &[u8]) -> Result<(Signal, Vec<Resource<'_>>), Malformed> {
    let mut request: Request<'_> = parse(line)?;
    let signals = [Signal::Logs, Signal::Traces, Signal::Metrics];
    let taken = signals.into_iter().find_map(|signal| Some((signal, request.take(signal)?)));
    let (signal, resources) = taken.ok_or("no records of OpenTelemetry")?;
    let room = &mut Room(MAX_PARTS);
    let resources = resources.into_iter().map(|resource| json_resource(resource.0, room));
    Ok((signal, resources.collect::<Result<_, _>>()?))
}

impl<'a> Request<'a> {
    fn take(&mut self, signal: Signal) -> Option<Vec<Raw<'a>>> {
        match signal {
            Signal::Logs => self.logs.take(),
            Signal::Traces => self.spans.take(),
            Signal::Metrics => self.metrics.take(),
        }
    }
}

fn protobuf_resource<'a>(message: &'a [u8], room: &mut Room) -> Result<Resource<'a>, Malformed> {
    room.take()?;
    let fields = Fields::new(message);
    let attributes = fields.clone().bytes_of(1).last().transpose()?;
    let attributes = attributes.map(protobuf::resource).transpose()?.unwrap_or_default();
    let scopes = fields.bytes_of(2).map(|scope| protobuf_scope(scope?, room));
    Ok(Resource { attributes, scopes: scopes.collect::<Result<_, _>>()? })
}

fn protobuf_scope<'a>(message: &'a [u8], room: &mut Room) -> Result<Scope<'a>, Malformed> {
    room.take()?;
    let fields = Fields::new(message);
    let scope = fields.clone().bytes_of(1).last().transpose()?.unwrap_or_default();
    let name = Fields::new(scope).bytes_of(1).last().transpose()?.unwrap_or_default();
    let records = fields.bytes_of(2).map(|record| room.take().and(record));
    Ok(Scope { name: decode(name), records: records.collect::<Result<_, _>>()? })
}

fn json_resource<'a>(text: &'a [u8], room: &mut Room) -> Result<Resource<'a>, Malformed> {
    room.take()?;
    let ResourceRecords { resource, scopes } = parse(text)?;
    let attributes = json_form::attributes(resource.and_then(|it| it.attributes))?;
    let scopes = scopes.into_iter().flatten().map(|scope| json_scope(scope.0, room));
    Ok(Resource { attributes, scopes: scopes.collect::<Result<_, _>>()? })
}

fn json_scope<'a>(text: &'a [u8], room: &mut Room) -> Result<Scope<'a>, Malformed> {
    room.take()?;
    let ScopeRecords { scope, records } = parse(text)?;
    let records = records.into_iter().flatten();
    let records = records.map(|record| room.take().map(|()| record.0));
    let name = json_form::scope_name(scope.as_ref());
    Ok(Scope { name, records: records.collect::<Result<_, _>>()? })
}

/// Reads a log record.
pub(super) fn log_record(encoding: Encoding, record: &[u8]) -> Result<LogRecord<'_>, Malformed> {
    let record = match encoding {
        Encoding::Protobuf => protobuf::log_record(record),
        Encoding::Json => json_form::log_record(record),
    };
    record?.checked()
}

/// Reads a span.
pub(super) fn span(encoding: Encoding, record: &[u8]) -> Result<Span<'_>, Malformed> {
    let span = match encoding {
        Encoding::Protobuf => protobuf::span(record),
        Encoding::Json => json_form::span(record),
    };
    span?.checked()
}
