//! The list of the stretches that Watchkeeper finds and misses, and of its false alarms.

use std::{io::Write, path::Path};

use watchkeeper_core::author::make_safe;
use watchkeeper_testing::labels::{LabelledSession, Labels, Stretch};

use super::{delay, due, events, is_due, is_found_at, score::IN_TIME};
use crate::{
    error::Error,
    watchkeeper::{Alarm, Watchkeeper},
};

/// Writes a line for each due stretch, found or missed, for each alarm in a quiet session, and for
/// each alarm in a due session that belongs to no due stretch. Then writes the totals.
pub(crate) fn list(
    folder: &Path,
    labels: &Labels,
    watchkeeper: &Watchkeeper,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut totals = Totals::default();
    for session in labels.sessions() {
        let events = events(&folder.join(session.file()), &watchkeeper.registry.sources)?;
        let alarms = watchkeeper.alarms(&events);
        totals.add(session, &alarms);
        for stretch in due(session) {
            write_stretch(session, stretch, &alarms, out)?;
        }
        let is_outside =
            |alarm: &&Alarm| !due(session).any(|stretch| is_found_at(stretch, alarm.step));
        for alarm in alarms.iter().filter(is_outside) {
            write_alarm(session, alarm, out)?;
        }
    }
    totals.write(out)
}

fn write_stretch(
    session: &LabelledSession,
    stretch: &Stretch,
    alarms: &[Alarm],
    out: &mut dyn Write,
) -> Result<(), Error> {
    let Stretch { severity, kind, from_step, to_step, tell_step, why } = stretch;
    let (file, why) = (session.file().display(), make_safe(why));
    match alarms.iter().find(|alarm| is_found_at(stretch, alarm.step)) {
        Some(Alarm { step, finding }) => writeln!(
            out,
            "found\t{file}\t{kind}\t{severity}\t{from_step}-{to_step}\ttell {tell_step}\tat {step}, \
             delay {}\t{}: {}\t{why}",
            delay(stretch, *step),
            finding.detector,
            finding.message,
        )?,
        None => {
            let others: Vec<String> =
                alarms.iter().map(|it| format!("{} at {}", it.finding.detector, it.step)).collect();
            let others = if others.is_empty() { "no alarm".to_owned() } else { others.join(", ") };
            writeln!(
                out,
                "missed\t{file}\t{kind}\t{severity}\t{from_step}-{to_step}\ttell {tell_step}\t\
                 {others}\t\t{why}"
            )?;
        }
    }
    Ok(())
}

fn write_alarm(
    session: &LabelledSession,
    Alarm { step, finding }: &Alarm,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let verdict = session.severity().map_or("quiet", |it| it.name());
    let place = if is_due(session.severity()) { "outside" } else { "false" };
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
    fn add(&mut self, session: &LabelledSession, alarms: &[Alarm]) {
        let has_alarm = usize::from(!alarms.is_empty());
        if is_due(session.severity()) {
            self.due += 1;
            self.reported += has_alarm;
        } else {
            self.quiet += 1;
            self.alarms += has_alarm;
        }
        for stretch in due(session) {
            self.stretches += 1;
            if let Some(alarm) = alarms.iter().find(|alarm| is_found_at(stretch, alarm.step)) {
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
