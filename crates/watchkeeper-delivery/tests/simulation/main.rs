//! The delivery of findings, simulated with its clock, disk, network, crashes and changed policies.
//!
//! A seed is one simulation of some weeks. `WATCHKEEPER_SEEDS` sets the number of seeds, and
//! `WATCHKEEPER_SEED` the first one; a failure names the seed.

use std::{collections::BTreeMap, env, time::Duration};

use watchkeeper_core::{
    Event, EventKind, Finding, Fingerprint,
    author::Origin,
    clock::{Clock as _, ManualClock},
    embed::{Durability, QueueCounts, QueueStep},
};
use watchkeeper_testing::Dice;

use self::{
    disk::{Crash, Disk, Fault},
    episodes::{Held, held},
    process::{Machine, OPEN_FOR, PAGER, Policy, Process, SINKS, expected},
    receiver::Receiver,
};

mod disk;
mod episodes;
mod process;
mod receiver;

/// The number of things that happen in a simulation.
const N_STEPS: usize = 400;

struct Simulation {
    dice: Dice,
    machine: Machine,
    process: Option<Process>,
    events: Vec<Event>,
    /// The lines of each session.
    n_lines: BTreeMap<u64, u64>,
    can_fail: bool,
    crash: Crash,
    n_crashes: usize,
    /// The largest number of findings in a request of any policy so far.
    largest_group: usize,
    totals: Totals,
}

/// The counts of all processes, for a report.
#[derive(Debug, Default)]
struct Totals {
    findings: usize,
    crashes: usize,
    reloads: usize,
    repeated: usize,
    refused: usize,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let clock = ManualClock::new("2026-11-01T08:00:00Z".parse().expect("a time"));
        // The findings of the queue are in memory if the disk can fail: then the disk has no
        // room for others, and the queue would count them as lost.
        let can_fail = dice.is_below(40);
        let capacity = if can_fail { 4_096 } else { dice.below(8) + 1 };
        let max_group = if dice.is_below(40) { 3 } else { 1 };
        let is_power = dice.is_below(30);
        let (durability, crash) = if is_power {
            (Durability::Power, Crash::PowerLoss)
        } else {
            (Durability::Process, Crash::Kill)
        };
        let disk = Disk::new(dice.roll());
        let receivers = [(); 3].map(|()| Receiver::new(dice.roll()));
        let policy = Policy { version: 0, capacity, max_group };
        let machine = Machine { clock, disk, receivers, durability, policy };
        Self {
            dice,
            machine,
            process: None,
            events: Vec::new(),
            n_lines: BTreeMap::new(),
            can_fail,
            crash,
            n_crashes: 0,
            largest_group: max_group,
            totals: Totals::default(),
        }
    }

    fn run(mut self) -> Totals {
        // What ended before the first start is not delivered.
        self.start();
        self.stop();
        for _ in 0..N_STEPS {
            self.step();
            self.bury();
        }
        self.heal();
        self.check();
        self.totals
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..35 => self.write(),
            35..67 => self.attempt(),
            67..70 => self.change_policy(),
            70..78 => self.pass(),
            78..84 => {
                let receiver = self.dice.pick(&self.machine.receivers).clone();
                receiver.with(|receiver| receiver.is_down = !receiver.is_down);
            }
            84..88 if self.can_fail => {
                let fault = match self.dice.below(4) {
                    0 => Some(Fault::Full { room: self.dice.below(400) }),
                    1 => Some(Fault::Broken),
                    _ => None,
                };
                self.machine.disk.set_fault(fault);
            }
            88..91 => {
                let n_writes = self.dice.below(6);
                self.machine.disk.crash_after(n_writes);
            }
            91..92 => self.machine.disk.crash(),
            92..93 => self.stop(),
            _ if self.process.is_none() => self.start(),
            _ => {}
        }
    }

    /// An agent appends a line to its session, whether or not a process reads it.
    fn write(&mut self) {
        let session = self.dice.below(3) as u64;
        let text: Box<str> = format!("e{}", self.dice.below(3)).into();
        let kind = if self.dice.is_below(70) {
            EventKind::Error { message: text, retry: None }
        } else {
            EventKind::Message { text, delta: false }
        };
        let line = self.n_lines.entry(session).or_default();
        *line += 1;
        let mut event = Event::new(self.machine.clock.now(), format!("s{session}"), kind);
        let file = format!("s{session}.ndjson").into();
        event.origin = Some(Origin { source: "ndjson", file, line: *line });
        if let Some(process) = &mut self.process {
            process.read(&event);
        }
        self.events.push(event);
    }

    /// The thread of a sink goes on.
    fn attempt(&mut self) {
        let Some(process) = &mut self.process else { return };
        let worker_idx = self.dice.below(SINKS.len());
        for _ in 0..=self.dice.below(3) {
            if let QueueStep::Idle(Some(due)) = process.workers[worker_idx].step() {
                let now = self.machine.clock.uptime();
                assert!(now < due, "idle until {due:?} at {now:?}");
                if self.dice.is_below(50) {
                    self.machine.clock.advance(due.saturating_sub(now));
                }
            }
        }
        process.look();
    }

    fn pass(&mut self) {
        let seconds = match self.dice.below(3) {
            0 => self.dice.between(0, 5),
            1 => self.dice.between(5, 300),
            _ => self.dice.between(300, 30_000),
        };
        self.machine.clock.advance(Duration::from_secs(seconds));
    }

    /// A person changes the policy, whether or not a process runs.
    fn change_policy(&mut self) {
        let policy = &mut self.machine.policy;
        policy.version += 1;
        policy.max_group = if self.dice.is_below(40) { 3 } else { 1 };
        if !self.can_fail {
            policy.capacity = self.dice.below(8) + 1;
        }
        self.largest_group = self.largest_group.max(policy.max_group);
        if let Some(process) = &mut self.process {
            process.reload(&self.machine);
            self.totals.reloads += 1;
        }
    }

    /// Starts a process. A disk that fails refuses it.
    fn start(&mut self) {
        self.process = self.machine.start(&self.events).ok();
    }

    fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            self.assert_conserved(&process.stop());
        }
        // A crash during the stop.
        self.bury();
    }

    /// Removes a process that has crashed.
    fn bury(&mut self) {
        if !self.machine.disk.has_crashed() {
            return;
        }
        self.n_crashes += 1;
        if let Some(process) = self.process.take() {
            self.assert_conserved(&process.end());
        }
        self.machine.disk.restart(self.crash);
    }

    /// Asserts that each finding of a process that has ended has one outcome.
    fn assert_conserved(&self, counts: &[QueueCounts]) {
        for counts in counts {
            let QueueCounts { received, delivered, dropped, failed, pending, .. } = *counts;
            assert_eq!(received, delivered + dropped + failed + pending, "{counts:?}");
        }
    }

    /// Lets everything work, and delivers what waits.
    fn heal(&mut self) {
        self.machine.disk.set_fault(None);
        self.machine.disk.restart(Crash::Kill);
        for receiver in &self.machine.receivers {
            receiver.with(|receiver| receiver.is_healed = true);
        }
        if let Some(process) = self.process.take() {
            self.assert_conserved(&process.end());
        }
        self.start();
        let process = self.process.as_mut().expect("the disk works");
        self.machine.clock.advance(OPEN_FOR.unsigned());
        process.look();
        for worker in &mut process.workers {
            loop {
                match worker.step() {
                    QueueStep::Idle(Some(due)) => {
                        let wait = due.saturating_sub(self.machine.clock.uptime());
                        self.machine.clock.advance(wait);
                    }
                    QueueStep::Attempted => {}
                    QueueStep::Idle(None) | QueueStep::End => break,
                }
            }
        }
        self.stop();
    }

    fn check(&mut self) {
        let expected = expected(&self.events);
        let place_of: BTreeMap<Fingerprint, usize> =
            expected.iter().enumerate().map(|(place, finding)| (finding.id, place)).collect();
        let held = held(&expected, OPEN_FOR.get());
        self.totals.findings = expected.len();
        self.totals.crashes = self.n_crashes;
        for (sink_idx, receiver) in self.machine.receivers.iter().enumerate() {
            let name = SINKS[sink_idx];
            let n_repeated = receiver.n_repeated();
            receiver.with(|receiver| {
                let is_accepted = |id| receiver.accepted.iter().any(|finding| finding.id == id);
                for (finding, held) in expected.iter().zip(&held) {
                    let is_known =
                        is_accepted(finding.id) || receiver.refused.contains(&finding.id);
                    let held = if sink_idx == PAGER { *held } else { Held::Sent };
                    assert!(is_known || held != Held::Sent, "{name} has lost {finding:#?}");
                    assert!(!is_known || held != Held::Never, "{name} got early {finding:#?}");
                }
                for finding in &receiver.accepted {
                    assert!(place_of.contains_key(&finding.id), "{name} invents {finding:#?}");
                }
                if !self.can_fail {
                    // A refused one is tried again, late, if the power fails before the refusal
                    // is on the disk.
                    let was_refused = |finding: &&Finding| receiver.refused.contains(&finding.id);
                    let accepted = receiver.accepted.iter().filter(|it| !was_refused(it));
                    assert_in_order(name, accepted, &place_of);
                    let n_explained = self.n_crashes * self.largest_group + receiver.n_lost_answers;
                    let is_explained = self.crash == Crash::PowerLoss || n_repeated <= n_explained;
                    assert!(is_explained, "{name}: {n_repeated} repeated, {n_explained} explained");
                }
                self.totals.refused += receiver.refused.len();
                self.totals.repeated += n_repeated;
            });
        }
    }
}

/// Asserts that the receiver first learns of the steps of each episode in their order.
fn assert_in_order<'a>(
    name: &str,
    accepted: impl Iterator<Item = &'a Finding>,
    place_of: &BTreeMap<Fingerprint, usize>,
) {
    let mut last: BTreeMap<Fingerprint, usize> = BTreeMap::new();
    let mut seen = Vec::new();
    for finding in accepted {
        if seen.contains(&finding.id) {
            continue;
        }
        seen.push(finding.id);
        let place = place_of[&finding.id];
        let previous = last.insert(finding.fingerprint, place);
        assert!(previous < Some(place), "{name}: {finding:#?} is late");
    }
}

#[test]
fn no_finding_is_lost_or_invented_whatever_fails() {
    let number = |name: &str, default| {
        env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (n_seeds, first) = (number("WATCHKEEPER_SEEDS", 200), number("WATCHKEEPER_SEED", 1));
    let mut totals = Totals::default();
    for seed in first..first + n_seeds {
        let result = std::panic::catch_unwind(|| Simulation::new(seed).run());
        let Ok(run) = result else { panic!("WATCHKEEPER_SEEDS=1 WATCHKEEPER_SEED={seed}") };
        totals.findings += run.findings;
        totals.crashes += run.crashes;
        totals.reloads += run.reloads;
        totals.repeated += run.repeated;
        totals.refused += run.refused;
    }
    println!("{n_seeds} seeds: {totals:?}");
    let is_thorough = 0 < totals.repeated && 0 < totals.refused && 0 < totals.reloads;
    assert!(is_thorough || n_seeds < 200, "{totals:?}");
}
