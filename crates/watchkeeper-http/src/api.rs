//! The API: its paths, its responses, and its description in the form of `OpenAPI` 3.1.

use hyper::Method;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde::Serialize;
use serde_json::{Value, json};
use watchkeeper_page::{
    BudgetRow, Changes, FindingRow, PastFindingRow, QuotaRow, SessionDetail, SessionRow, Totals,
};

use crate::{
    acknowledgements::{AcknowledgementRow, NewAcknowledgement},
    silences::{NewSilence, SilenceRow},
};

/// A path of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Sessions,
    Session,
    Findings,
    Budgets,
    Quotas,
    Events,
    Silences,
    Silence,
    Acknowledgements,
    Acknowledgement,
    History,
    Description,
}

impl Endpoint {
    /// All endpoints: the router and the description know no other.
    pub(crate) const ALL: [Self; 12] = [
        Self::Sessions,
        Self::Session,
        Self::Findings,
        Self::Budgets,
        Self::Quotas,
        Self::Events,
        Self::Silences,
        Self::Silence,
        Self::Acknowledgements,
        Self::Acknowledgement,
        Self::History,
        Self::Description,
    ];

    /// Returns the endpoint of a path, and the id in the path; empty if the endpoint has none.
    pub(crate) fn of(path: &str) -> Option<(Self, &str)> {
        Self::ALL.into_iter().find_map(|endpoint| Some((endpoint, endpoint.id_in(path)?)))
    }

    fn id_in(self, path: &str) -> Option<&str> {
        match self.path().strip_suffix(ID) {
            Some(start) => path.strip_prefix(start).filter(|id| !id.contains('/')),
            None => (path == self.path()).then_some(""),
        }
    }

    /// Returns the path, in which [`ID`] stands for an id.
    const fn path(self) -> &'static str {
        match self {
            Self::Sessions => "/api/v1/sessions",
            Self::Session => "/api/v1/sessions/{id}",
            Self::Findings => "/api/v1/findings",
            Self::Budgets => "/api/v1/budgets",
            Self::Quotas => "/api/v1/quotas",
            Self::Events => "/api/v1/events",
            Self::Silences => "/api/v1/silences",
            Self::Silence => "/api/v1/silences/{id}",
            Self::Acknowledgements => "/api/v1/acknowledgements",
            Self::Acknowledgement => "/api/v1/acknowledgements/{id}",
            Self::History => "/api/v1/history",
            Self::Description => "/api/v1/openapi.json",
        }
    }

    pub(crate) const fn methods(self) -> &'static [Method] {
        match self {
            Self::Silences | Self::Acknowledgements => READ_AND_ADD,
            Self::Silence | Self::Acknowledgement => DELETE,
            _ => READ,
        }
    }
}

/// The last part of a path, for an id.
const ID: &str = "{id}";
/// The methods of a path that is read only.
pub(crate) const READ: &[Method] = &[Method::GET, Method::HEAD];
const READ_AND_ADD: &[Method] = &[Method::GET, Method::HEAD, Method::POST];
const DELETE: &[Method] = &[Method::DELETE];

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

/// All budgets.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Budgets {
    /// The budgets, the latest measure last.
    pub(crate) budgets: Vec<BudgetRow>,
}

/// All quotas.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Quotas {
    /// The quotas, the latest statement last.
    pub(crate) quotas: Vec<QuotaRow>,
}

/// The active silences.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SilenceList {
    /// The silences, in the order of their creation.
    pub(crate) silences: Vec<SilenceRow>,
}

/// All acknowledgements.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AcknowledgementList {
    /// The acknowledgements, in the order of their creation.
    pub(crate) acknowledgements: Vec<AcknowledgementRow>,
}

/// The findings of this run and earlier ones.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HistoryList {
    /// The findings, the latest first, 500 at most.
    pub(crate) findings: Vec<PastFindingRow>,
}

/// Returns the description of the API, as `/api/v1/openapi.json` has it.
pub fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.for_serialize().into_generator();
    let paths = Endpoint::ALL
        .iter()
        .map(|endpoint| (endpoint.path().to_owned(), operations(*endpoint, &mut generator)))
        .collect();
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Watchkeeper",
            "description": "Sessions and findings of a `watchkeeper watch --ui`. Text from agents is text, never markup.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "security": [{ "token": [] }, { "cookie": [] }],
        "paths": Value::Object(paths),
        "components": {
            "schemas": schemas,
            "securitySchemes": security_schemes(),
        },
    })
}

/// Describes the operations of an endpoint.
fn operations(endpoint: Endpoint, generator: &mut SchemaGenerator) -> Value {
    let list = |summary: &str, description: &str, content: Value| json!({ "get": { "summary": summary, "responses": { "200": ok(description, &content) } } });
    match endpoint {
        Endpoint::Sessions => {
            list("All sessions, with totals", "The sessions.", body_of::<Sessions>(generator))
        }
        Endpoint::Session => json!({ "get": {
            "summary": "One session with its timeline",
            "parameters": id("The id of the session, percent-encoded."),
            "responses": {
                "200": ok("The session.", &body_of::<SessionDetail>(generator)),
                "404": unknown(),
            },
        } }),
        Endpoint::Findings => list("All findings", "The findings.", body_of::<Findings>(generator)),
        Endpoint::Budgets => {
            let budgets = body_of::<Budgets>(generator);
            list("The measures of budgets, with a forecast", "The budgets.", budgets)
        }
        Endpoint::Quotas => {
            let quotas = body_of::<Quotas>(generator);
            list("The limits of accounts, with a forecast and the proof", "The quotas.", quotas)
        }
        Endpoint::Events => {
            let changes = generator.subschema_for::<Changes>().to_value();
            let events = json!({
                "text/event-stream": { "schema": { "type": "string" }, "x-event-data": { "changes": changes } },
            });
            json!({ "get": {
                "summary": "Changes as server-sent events",
                "description": "The first event contains everything, unless the client has an id of this process. A client that reads slowly receives several changes as one.",
                "parameters": last_event_id(),
                "responses": {
                    "200": ok("Events named `changes`, each with the changes since the one before.", &events),
                    "503": refusal("There are too many clients."),
                },
            } })
        }
        Endpoint::Silences | Endpoint::Silence => silence_operations(endpoint, generator),
        Endpoint::Acknowledgements | Endpoint::Acknowledgement => {
            acknowledgement_operations(endpoint, generator)
        }
        Endpoint::History => json!({ "get": {
            "summary": "Findings of this run and earlier ones",
            "description": "As far as the ledgers in the state folder have them: sinks for a terminal have none, and a ledger forgets findings that have ended when its file has grown to a MiB.",
            "responses": { "200": ok("The findings.", &body_of::<HistoryList>(generator)) },
        } }),
        Endpoint::Description => {
            list("This description", "The description.", body(json!({ "type": "object" })))
        }
    }
}

fn silence_operations(endpoint: Endpoint, generator: &mut SchemaGenerator) -> Value {
    if endpoint == Endpoint::Silence {
        return json!({ "delete": {
            "summary": "End a silence",
            "parameters": id("The id of the silence."),
            "responses": {
                "200": ok("The silence.", &body_of::<SilenceRow>(generator)),
                "404": unknown(),
            },
        } });
    }
    json!({
        "get": {
            "summary": "The active silences",
            "responses": { "200": ok("The silences.", &body_of::<SilenceList>(generator)) },
        },
        "post": {
            "summary": "Add a silence",
            "description": "A silence that is active already is not added again.",
            "requestBody": { "required": true, "content": body_of::<NewSilence>(generator) },
            "responses": {
                "201": ok("The silence.", &body_of::<SilenceRow>(generator)),
                "400": refusal("The silence is not valid."),
                "503": refusal("Another program changes the silences."),
            },
        },
    })
}

fn acknowledgement_operations(endpoint: Endpoint, generator: &mut SchemaGenerator) -> Value {
    let one = ok("The acknowledgement.", &body_of::<AcknowledgementRow>(generator));
    if endpoint == Endpoint::Acknowledgement {
        return json!({ "delete": {
            "summary": "Remove an acknowledgement",
            "parameters": id("The id of the acknowledgement."),
            "responses": { "200": one, "404": unknown() },
        } });
    }
    let all = ok("The acknowledgements.", &body_of::<AcknowledgementList>(generator));
    json!({
        "get": {
            "summary": "The acknowledgements of findings",
            "responses": { "200": all },
        },
        "post": {
            "summary": "Acknowledge a finding",
            "description": "The finding stays listed, with the acknowledgement.",
            "requestBody": { "required": true, "content": body_of::<NewAcknowledgement>(generator) },
            "responses": {
                "201": one,
                "400": refusal("The acknowledgement is not valid."),
                "503": refusal("Another program changes the acknowledgements."),
            },
        },
    })
}

fn body_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    body(generator.subschema_for::<T>().to_value())
}

fn unknown() -> Value {
    refusal("There is none with this id.")
}

fn ok(description: &str, content: &Value) -> Value {
    json!({ "description": description, "content": content })
}

fn refusal(description: &str) -> Value {
    let schema = json!({ "type": "string" });
    json!({ "description": description, "content": { "text/plain": { "schema": schema } } })
}

fn id(description: &str) -> Value {
    let schema = json!({ "type": "string" });
    json!([{ "name": "id", "in": "path", "required": true, "description": description, "schema": schema }])
}

fn last_event_id() -> Value {
    json!([{
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The id of the latest event that the client has.",
        "schema": { "type": "string" },
    }])
}

fn security_schemes() -> Value {
    json!({
        "token": { "type": "http", "scheme": "bearer" },
        "cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": "watchkeeper-PORT",
            "description": "Set by the address that `watch --ui` prints.",
        },
    })
}

/// Makes the description of a JSON body.
fn body(schema: Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, ID, openapi};

    #[test]
    fn the_description_has_the_methods_of_every_endpoint() {
        let description = openapi();
        assert_eq!(description["paths"].as_object().unwrap().len(), Endpoint::ALL.len());
        for endpoint in Endpoint::ALL {
            let operations = description["paths"][endpoint.path()].as_object().unwrap();
            let described = operations.keys().map(|method| method.to_uppercase());
            let methods = endpoint.methods().iter().map(ToString::to_string);
            // Every client can derive `HEAD` from `GET`.
            let methods = methods.filter(|method| method != "HEAD");
            assert_eq!(described.collect::<Vec<_>>(), methods.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_path_has_one_endpoint() {
        for endpoint in Endpoint::ALL {
            let path = endpoint.path().replace(ID, "x%2Fy");
            let id = if endpoint.path().ends_with(ID) { "x%2Fy" } else { "" };
            assert_eq!(Endpoint::of(&path), Some((endpoint, id)));
        }
        for unknown in ["", "/api/v1", "/api/v1/sessions/a/b", "/api/v1/findings/x"] {
            assert_eq!(Endpoint::of(unknown), None, "{unknown}");
        }
    }
}
