use watchkeeper_page::{DetectorMeasures, Measurement, Recorder};

use super::timeline::{DetectorSummary, Entry, Step, Timeline};

/// The number of measures of one detector that a page shows.
const MAX_MEASUREMENTS: usize = 100;

/// Returns the measures of the detectors that reported a finding, for a page. `recorder` has
/// recorded the same session.
pub(crate) fn measures(timeline: Timeline, recorder: &Recorder) -> Vec<DetectorMeasures> {
    let Timeline { detectors, entries } = timeline;
    let reported = detectors.into_iter().filter(|summary| summary.severity.is_some());
    let mut measures: Vec<DetectorMeasures> = reported.map(without_measurements).collect();
    for entry in &entries {
        for step in &entry.steps {
            let of_detector = measures.iter_mut().find(|it| *it.detector == *step.detector);
            let Some(measures) = of_detector else { continue };
            if measures.measurements.len() < MAX_MEASUREMENTS {
                measures.measurements.push(measurement(entry, step, recorder));
            } else {
                measures.omitted += 1;
            }
        }
    }
    measures
}

fn without_measurements(summary: DetectorSummary) -> DetectorMeasures {
    DetectorMeasures {
        detector: summary.detector.to_string(),
        kind: summary.kind.to_string(),
        unit: summary.unit,
        levels: summary.levels,
        measurements: Vec::new(),
        omitted: 0,
    }
}

fn measurement(entry: &Entry, step: &Step, recorder: &Recorder) -> Measurement {
    let Entry { location, agent, summary, event_idx, .. } = entry;
    Measurement {
        at_ms: recorder.offset_ms(location.at, *event_idx),
        agent: agent.as_ref().map(|agent| agent.as_str().to_owned()),
        outcome: step.outcome,
        measure: step.measure,
        severity: step.severity,
        message: step.message.clone(),
        event: summary.clone(),
        file: location.file.as_deref().map(str::to_owned),
        line: location.line,
    }
}
