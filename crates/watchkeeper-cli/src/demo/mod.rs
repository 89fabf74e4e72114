//! Parts of `watchkeeper demo`.

mod agent;
mod svg;

pub(crate) use self::{
    agent::{Agent, Pace},
    svg::terminal_svg,
};

/// Policy of the demo.
pub(crate) const POLICY: &str = include_str!("policy.toml");
