//! Levels for the detectors of a policy, proposed from recorded sessions.
//!
//! One pass over the sessions records the measures of every episode, which gives the
//! number of findings at each level. A second pass with the proposed levels counts the
//! findings that the proposed policy reports.

mod candidates;
mod fragment;
mod labelled;
mod levels;
mod measures;
mod model;
mod proposal;
mod recorder;
mod report;
mod text;

pub(crate) use self::{
    fragment::fragment,
    labelled::{LabelledFiles, LabelsFileError},
    levels::{TunedDetectors, add_levels, choices},
    measures::Measures,
    model::Model,
    proposal::{Proposal, best_balance, held_out, wanted_rate},
    recorder::MeasureRecorder,
    report::{LabelledFindings, LabelsReport, Pace, TuneReport, Wanted},
    text::{summary, write},
};
