//! The list of the stretches that Watchkeeper finds and misses, and of its false alarms.

use std::{io::Write, path::Path};

use watchkeeper_core::{Event, author::make_safe};
use watchkeeper_testing::labels::{LabelledSession, Labels, Stretch};

use super::{delay, events, score::IN_TIME};
use crate::{
    error::Error,
    reports::Response,
    rules::{PEERS, Peer},
    watchkeeper::{Emitted, Watchkeeper},
};

/// Writes a line for each due stretch, found or missed, for each alarm in a quiet session, and for
/// each alarm in a due session that belongs to no due stretch. Then writes the totals.
///
/// The line of a missed stretch contains the findings of Watchkeeper elsewhere in the session, its
/// findings of severity `low` in the stretch, and the guards that find the stretch.
pub(crate) fn list(
    folder: &Path,
    labels: &Labels,
    watchkeeper: &Watchkeeper,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut totals = Totals::default();
    for session in labels.sessions() {
        let events = events(&folder.join(session.file()), &watchkeeper.registry.sources)?;
        let (alarms, lows): (Vec<_>, Vec<_>) =
            watchkeeper.findings(&events).into_iter().partition(Emitted::is_alarm);
        totals.add(session, &alarms);
        for stretch in session.due() {
            match alarms.iter().find(|alarm| stretch.includes(alarm.step)) {
                Some(alarm) => write_found(session, stretch, alarm, out)?,
                None => {
                    let is_in_stretch = |it: &&Emitted| stretch.includes(it.step);
                    let lows = lows.iter().filter(is_in_stretch);
                    let found_elsewhere = alarms.iter().chain(lows);
                    write_missed(
                        session,
                        stretch,
                        found_elsewhere,
                        &guards(&events, stretch),
                        out,
                    )?;
                }
            }
        }
        let is_outside =
            |alarm: &&Emitted| !session.due().any(|stretch| stretch.includes(alarm.step));
        for alarm in alarms.iter().filter(is_outside) {
            write_alarm(session, alarm, out)?;
        }
    }
    totals.write(out)
}

/// Returns the names of the guards that find a stretch.
fn guards(events: &[Event], stretch: &Stretch) -> Vec<&'static str> {
    let finds = |peer: &&Peer| {
        let steps = peer.reports(events).steps(Response::Warn);
        steps.into_iter().any(|step| stretch.includes(step))
    };
    PEERS.iter().filter(finds).map(|peer| peer.name).collect()
}

fn write_found(
    session: &LabelledSession,
    stretch: &Stretch,
    Emitted { step, finding }: &Emitted,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let delay = delay(stretch, *step);
    let (detector, message) = (&finding.detector, &finding.message);
    let (label, why) = (label(session, stretch), make_safe(&stretch.why));
    writeln!(out, "found\t{label}\tat {step}, delay {delay}\t{detector}: {message}\t{why}")?;
    Ok(())
}

fn write_missed<'a>(
    session: &LabelledSession,
    stretch: &Stretch,
    found_elsewhere: impl Iterator<Item = &'a Emitted>,
    guards: &[&str],
    out: &mut dyn Write,
) -> Result<(), Error> {
    let findings: Vec<String> = found_elsewhere
        .map(|Emitted { step, finding }| {
            format!("{} {} at {step}", finding.severity, finding.detector)
        })
        .collect();
    let or_none = |names: String| if names.is_empty() { "none".to_owned() } else { names };
    let (findings, guards) = (or_none(findings.join(", ")), or_none(guards.join("; ")));
    let (label, why) = (label(session, stretch), make_safe(&stretch.why));
    writeln!(out, "missed\t{label}\tfindings: {findings}\tguards: {guards}\t{why}")?;
    Ok(())
}

fn label(session: &LabelledSession, stretch: &Stretch) -> String {
    let Stretch { severity, kind, from_step, to_step, tell_step, .. } = stretch;
    let file = session.file().display();
    format!("{file}\t{kind}\t{severity}\t{from_step}-{to_step}\ttell {tell_step}")
}

fn write_alarm(
    session: &LabelledSession,
    Emitted { step, finding }: &Emitted,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let verdict = session.severity().map_or("quiet", |it| it.name());
    let place = if session.is_due() { "outside" } else { "false" };
    writeln!(
        out,
        "{place}\t{}\t{}\t{}\t{step}\tlabelled {verdict}\t\t{}\t{}",
        session.file().display(),
        finding.detector,
        finding.severity,
        finding.message,
        make_safe(session.why()),
    )?;
    Ok(())
}

#[derive(Default)]
struct Totals {
    due: usize,
    reported: usize,
    quiet: usize,
    alarms: usize,
    stretches: usize,
    found: usize,
    in_time: usize,
}

impl Totals {
    fn add(&mut self, session: &LabelledSession, alarms: &[Emitted]) {
        let has_alarm = usize::from(!alarms.is_empty());
        if session.is_due() {
            self.due += 1;
            self.reported += has_alarm;
        } else {
            self.quiet += 1;
            self.alarms += has_alarm;
        }
        for stretch in session.due() {
            self.stretches += 1;
            if let Some(alarm) = alarms.iter().find(|alarm| stretch.includes(alarm.step)) {
                self.found += 1;
                self.in_time += usize::from(delay(stretch, alarm.step) <= IN_TIME);
            }
        }
    }

    fn write(&self, out: &mut dyn Write) -> Result<(), Error> {
        let Self { due, reported, quiet, alarms, stretches, found, in_time } = self;
        writeln!(
            out,
            "sessions: {reported} of {due} due reported, {alarms} of {quiet} quiet with an alarm; \
             stretches: {found} of {stretches} found, {in_time} of them at most {IN_TIME} steps after \
             the tell step"
        )?;
        Ok(())
    }
}
