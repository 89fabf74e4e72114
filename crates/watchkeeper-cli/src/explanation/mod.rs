//! Explanations: the measures of the detectors in one session, and the reasons
//! for their findings.

mod event_summary;
mod measures;
mod recorder;
mod timeline;

pub(crate) use self::{
    measures::measures,
    recorder::TimelineRecorder,
    timeline::{DetectorSummary, Entry, Location, Step, Timeline},
};
