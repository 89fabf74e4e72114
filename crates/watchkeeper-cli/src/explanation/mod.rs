//! Explanations: the measures of the detectors in one session, and the reasons
//! for their findings.

mod event_summary;
mod recorder;
mod timeline;

pub(crate) use self::{
    recorder::TimelineRecorder,
    timeline::{DetectorSummary, Entry, LevelSummary, Location, Step, StepOutcome, Timeline},
};
