//! The cost of detectors: an engine with them, minus an engine without.

use std::{fmt::Write as _, io};

use watchkeeper_core::{Event, EventKind, SessionId, Timestamp, embed::NamedDetector};

use crate::{
    Plan,
    engine::observe,
    measure,
    table::{Figure, Row},
    traffic::{Engines, Traffic},
};

/// The length of the arguments of a call, in bytes.
const ARGUMENTS: usize = 200;
/// The number of events per round. They fit into the processor's caches, as do events that a
/// source has just read.
const BLOCK: usize = 2_000;
/// The length of a long message, in bytes.
const TEXT: usize = 1 << 20;

pub(crate) fn rows(plan: &Plan) -> io::Result<Vec<Row>> {
    let mut rows = vec![
        of_policy("detectors, all of the built-in policy", plan.policy.detectors.clone(), plan)?
            .at_most(60.0),
    ];
    for detector in &plan.policy.detectors {
        let name = format!("detectors, `{}` alone", detector.id);
        rows.push(of_policy(&name, vec![detector.clone()], plan)?);
    }
    for (name, piece_len) in [("whole", TEXT), ("in pieces of 1,000", 1000), ("of 24", 24)] {
        rows.push(repeated_text(&format!("repeated_text, a byte {name}"), piece_len, plan)?);
    }
    Ok(rows)
}

/// Measures an event of a healthy session.
fn of_policy(name: &str, detectors: Vec<NamedDetector>, plan: &Plan) -> io::Result<Row> {
    let engines = Engines::new(&plan.policy);
    let mut bare = (engines.with(Vec::new()), Traffic::new(1, ARGUMENTS));
    let mut full = (engines.with(detectors), Traffic::new(1, ARGUMENTS));
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds(150) {
        without.push(observe(&mut bare.0, &bare.1.take(BLOCK))?);
        with.push(observe(&mut full.0, &full.1.take(BLOCK))?);
    }
    let (without, with) = (measure::undisturbed(without), measure::undisturbed(with));
    let remark = format!("per event, beyond {} without detectors", Figure::Nanos(without));
    Ok(Row::new(name, Figure::Nanos((with - without).max(0.0))).remark(remark))
}

/// Measures a byte of a message that is streamed in pieces of `piece_len` bytes.
fn repeated_text(name: &str, piece_len: usize, plan: &Plan) -> io::Result<Row> {
    let engines = Engines::new(&plan.policy);
    let repeated_text = plan
        .policy
        .detectors
        .iter()
        .filter(|it| &*it.id == "repeated_text")
        .cloned()
        .collect::<Vec<_>>();
    let text = prose(TEXT);
    let session = SessionId::from("s");
    let pieces = text.as_bytes().chunks(piece_len).map(|piece| {
        let text = String::from_utf8_lossy(piece).into_owned().into();
        let kind = EventKind::Message { text, delta: piece_len != TEXT };
        Event::new(Timestamp::UNIX_EPOCH, session.clone(), kind)
    });
    let pieces: Vec<Event> = pieces.collect();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds(9) {
        without.push(observe(&mut engines.with(Vec::new()), &pieces)?);
        with.push(observe(&mut engines.with(repeated_text.clone()), &pieces)?);
    }
    #[expect(clippy::cast_precision_loss, reason = "a measurement is not that exact")]
    let a_byte = |nanos: Vec<f64>| measure::median(nanos) * pieces.len() as f64 / TEXT as f64;
    let (without, with) = (a_byte(without), a_byte(with));
    let row = Row::new(name, Figure::Nanos((with - without).max(0.0)));
    // With smaller pieces, the cost per event dominates.
    let row = if 1000 <= piece_len { row.at_most(6.0) } else { row };
    Ok(row.remark(format!("beyond {} without detectors", Figure::Nanos(without))))
}

/// Generates text without repetition.
pub(crate) fn prose(len: usize) -> String {
    let words = ["the", "harbor", "holds", "keel", "and", "anchor", "while", "a", "crane", "lifts"];
    let mut text = String::with_capacity(len + 32);
    let mut n: u64 = 0;
    while text.len() < len {
        let dice = watchkeeper_testing::Dice::mixed(n);
        let word_idx = usize::try_from(dice % 10).unwrap_or_default();
        text.push_str(words[word_idx]);
        if dice.is_multiple_of(7) {
            let _ = write!(text, "_{:x}", dice >> 40);
        }
        text.push_str(if dice.is_multiple_of(13) { ".\n" } else { " " });
        n += 1;
    }
    text.truncate(len);
    text
}
