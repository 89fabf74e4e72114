//! The body of a request, in the format of the receiver.

mod cloudevents;
mod discord;
mod pagerduty;
mod slack;
mod summary;
mod teams;
mod template;

use serde::Serialize;
use watchkeeper_core::{
    Finding, InvalidOption, Timestamp,
    author::{Secret, SinkError, known_time},
};

use self::{summary::Summary, template::Template};
use super::{
    options::{BodyFormat, WebhookOptions},
    update::Update,
};
use crate::json::json_line;

/// A format, with what it needs.
pub(super) enum Body {
    Standard,
    Slack,
    Discord,
    Teams,
    Pagerduty { routing_key: String },
    Cloudevents,
    Template(Box<Template>),
}

/// The body that Standard Webhooks recommends.
#[derive(Serialize)]
struct Standard<D> {
    #[serde(rename = "type")]
    event_type: &'static str,
    /// `None` for a session without times.
    timestamp: Option<Timestamp>,
    data: D,
}

/// The data of several findings.
#[derive(Serialize)]
struct FindingGroup<'a> {
    findings: Vec<Standard<&'a Finding>>,
}

/// The largest number of findings in one request: the lists that chat services show are short.
const MAX_GROUP: usize = 20;

impl Body {
    /// Returns `None` if a secret is unknown.
    pub(super) fn new(options: &WebhookOptions) -> Result<Option<Self>, InvalidOption> {
        let WebhookOptions { format, routing_key, template, .. } = options;
        if routing_key.is_some() && *format != BodyFormat::Pagerduty {
            let reason = "belongs to `format = \"pagerduty\"`";
            return Err(InvalidOption::new("routing_key", reason));
        }
        if let Some(template) = template {
            if *format != BodyFormat::Standard {
                return Err(InvalidOption::new(
                    "template",
                    "replaces `format`: remove one of them",
                ));
            }
            let template = Template::new(template);
            let template = template.map_err(|mistake| InvalidOption::new("template", mistake))?;
            return Ok(Some(Self::Template(Box::new(template))));
        }
        Ok(Some(match format {
            BodyFormat::Standard => Self::Standard,
            BodyFormat::Slack => Self::Slack,
            BodyFormat::Discord => Self::Discord,
            BodyFormat::Teams => Self::Teams,
            BodyFormat::Cloudevents => Self::Cloudevents,
            BodyFormat::Pagerduty => match routing_key.as_ref().map(Secret::expose) {
                Some(Some(key)) => Self::Pagerduty { routing_key: key.to_owned() },
                Some(None) => return Ok(None),
                None => {
                    let reason = "`pagerduty` needs the key of the integration in `routing_key`";
                    return Err(InvalidOption::new("format", reason));
                }
            },
        }))
    }

    pub(super) const fn content_type(&self) -> &'static str {
        match self {
            Self::Cloudevents => "application/cloudevents+json",
            _ => "application/json",
        }
    }

    /// Returns the largest number of findings that a request contains.
    pub(super) const fn max_group(&self) -> usize {
        match self {
            Self::Standard | Self::Slack | Self::Discord | Self::Teams => MAX_GROUP,
            Self::Pagerduty { .. } | Self::Cloudevents | Self::Template(_) => 1,
        }
    }

    /// Returns the body of the request for findings, as one line.
    pub(super) fn render(&self, updates: &[(&Finding, Update)]) -> Result<String, SinkError> {
        let [(finding, update)] = *updates else { return self.render_group(updates) };
        let summary = || Summary::new(finding, update);
        Ok(match self {
            Self::Standard => json_line(&standard(finding, update)),
            Self::Slack => json_line(&slack::body(&summary())),
            Self::Discord => json_line(&discord::body(&summary())),
            Self::Teams => json_line(&teams::body(&summary())),
            Self::Cloudevents => json_line(&cloudevents::body(finding, update)),
            Self::Pagerduty { routing_key } => {
                json_line(&pagerduty::body(routing_key, finding, update))
            }
            Self::Template(template) => {
                let value = template.render(finding, update).map_err(|mistake| {
                    SinkError::refused(format!("cannot render `template`: {mistake}"))
                })?;
                json_line(&value)
            }
        })
    }

    fn render_group(&self, updates: &[(&Finding, Update)]) -> Result<String, SinkError> {
        let summary = || Summary::of_group(updates);
        Ok(match self {
            Self::Standard => {
                let findings: Vec<_> =
                    updates.iter().map(|(finding, update)| standard(finding, *update)).collect();
                let timestamp = findings.iter().filter_map(|finding| finding.timestamp).max();
                let data = FindingGroup { findings };
                json_line(&Standard { event_type: "finding.group", timestamp, data })
            }
            Self::Slack => json_line(&slack::body(&summary())),
            Self::Discord => json_line(&discord::body(&summary())),
            Self::Teams => json_line(&teams::body(&summary())),
            Self::Pagerduty { .. } | Self::Cloudevents | Self::Template(_) => {
                return Err(SinkError::refused("the format has one finding in each request"));
            }
        })
    }
}

fn standard(finding: &Finding, update: Update) -> Standard<&Finding> {
    let timestamp = known_time(finding.at);
    Standard { event_type: update.event_type(), timestamp, data: finding }
}

#[cfg(test)]
mod tests;
