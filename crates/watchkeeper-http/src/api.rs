//! The API: its responses, and its description in the form of `OpenAPI` 3.1.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;
use serde_json::{Value, json};
use watchkeeper_page::{Changes, FindingRow, SessionDetail, SessionRow, Totals};

use crate::silences::{NewSilence, SilenceRow};

/// All sessions.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Sessions {
    /// The sessions, the latest change last.
    pub(crate) sessions: Vec<SessionRow>,
    /// The totals of all sessions.
    pub(crate) totals: Totals,
}

/// All findings.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Findings {
    /// The findings, the latest change last.
    pub(crate) findings: Vec<FindingRow>,
}

/// The active silences.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SilenceList {
    /// The silences, in the order of their creation.
    pub(crate) silences: Vec<SilenceRow>,
}

/// Returns the description of the API, as `/api/v1/openapi.json` has it.
pub fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.for_serialize().into_generator();
    let sessions = body(generator.subschema_for::<Sessions>().to_value());
    let session = body(generator.subschema_for::<SessionDetail>().to_value());
    let findings = body(generator.subschema_for::<Findings>().to_value());
    let changes = generator.subschema_for::<Changes>().to_value();
    let silences = body(generator.subschema_for::<SilenceList>().to_value());
    let silence = body(generator.subschema_for::<SilenceRow>().to_value());
    let new_silence = body(generator.subschema_for::<NewSilence>().to_value());
    let schemas = generator.take_definitions(true);
    let id = |description: &str| {
        let schema = json!({ "type": "string" });
        json!([{ "name": "id", "in": "path", "required": true, "description": description, "schema": schema }])
    };
    let refusal = |description: &str| {
        let schema = json!({ "type": "string" });
        json!({ "description": description, "content": { "text/plain": { "schema": schema } } })
    };
    let ok = |description: &str, content: &Value| json!({ "description": description, "content": content });
    let unknown = refusal("There is none with this id.");
    let events = json!({
        "text/event-stream": { "schema": { "type": "string" }, "x-event-data": { "changes": changes } },
    });
    let last = json!([{
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The id of the latest event that the client has.",
        "schema": { "type": "string" },
    }]);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Watchkeeper",
            "description": "Sessions and findings of a `watchkeeper watch --ui`. Text from agents is text, never markup.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "security": [{ "token": [] }, { "cookie": [] }],
        "paths": {
            "/api/v1/sessions": { "get": {
                "summary": "All sessions, with totals",
                "responses": { "200": ok("The sessions.", &sessions) },
            } },
            "/api/v1/sessions/{id}": { "get": {
                "summary": "One session with its timeline",
                "parameters": id("The id of the session, percent-encoded."),
                "responses": { "200": ok("The session.", &session), "404": unknown },
            } },
            "/api/v1/findings": { "get": {
                "summary": "All findings",
                "responses": { "200": ok("The findings.", &findings) },
            } },
            "/api/v1/events": { "get": {
                "summary": "Changes as server-sent events",
                "description": "The first event contains everything, unless the client has an id of this process. A client that reads slowly receives several changes as one.",
                "parameters": last,
                "responses": {
                    "200": ok("Events named `changes`, each with the changes since the one before.", &events),
                    "503": refusal("There are too many clients."),
                },
            } },
            "/api/v1/silences": {
                "get": {
                    "summary": "The active silences",
                    "responses": { "200": ok("The silences.", &silences) },
                },
                "post": {
                    "summary": "Add a silence",
                    "requestBody": { "required": true, "content": new_silence },
                    "responses": {
                        "201": ok("The silence.", &silence),
                        "400": refusal("The silence is not valid."),
                    },
                },
            },
            "/api/v1/silences/{id}": { "delete": {
                "summary": "End a silence",
                "parameters": id("The id of the silence."),
                "responses": { "200": ok("The silence.", &silence), "404": unknown },
            } },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "watchkeeper-PORT",
                    "description": "Set by the address that `watch --ui` prints.",
                },
            },
        },
    })
}

/// Makes the description of a JSON body.
fn body(schema: Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}
