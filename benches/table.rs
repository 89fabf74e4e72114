//! The table of results.

use std::fmt;

/// One measurement.
pub(crate) struct Row {
    name: String,
    figure: Figure,
    ratio: Option<f64>,
    goal: Option<Goal>,
    remark: String,
}

#[derive(Clone, Copy)]
pub(crate) enum Figure {
    Bytes(f64),
    Nanos(f64),
    Seconds(f64),
    Instructions(f64),
    Unmeasured,
}

/// The maximum of a ratio or a figure.
#[derive(Clone, Copy)]
enum Goal {
    Ratio(f64),
    Figure(f64),
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, figure: Figure) -> Self {
        Self { name: name.into(), figure, ratio: None, goal: None, remark: String::new() }
    }

    /// Creates a row without a figure, with the reason.
    pub(crate) fn unmeasured(name: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self::new(name, Figure::Unmeasured).remark(format!("not measured: {reason}"))
    }

    pub(crate) fn at_most(self, goal: f64) -> Self {
        Self { goal: Some(Goal::Figure(goal)), ..self }
    }

    pub(crate) fn times(self, ratio: f64) -> Self {
        Self { ratio: Some(ratio), ..self }
    }

    pub(crate) fn at_most_times(self, goal: f64) -> Self {
        Self { goal: Some(Goal::Ratio(goal)), ..self }
    }

    /// Adds the reference of the ratio, or the conditions of the measurement.
    pub(crate) fn remark(self, text: impl Into<String>) -> Self {
        Self { remark: text.into(), ..self }
    }

    /// Returns whether the goal is met, or `None` without a goal or a figure.
    pub(crate) fn is_met(&self) -> Option<bool> {
        match self.goal? {
            Goal::Ratio(goal) => Some(self.ratio? <= goal),
            Goal::Figure(goal) => Some(self.figure.value()? <= goal),
        }
    }

    fn cells(&self) -> [String; 6] {
        let goal = match self.goal {
            None => String::new(),
            Some(Goal::Ratio(goal)) => format!("<= {goal}x"),
            Some(Goal::Figure(goal)) => format!("<= {}", self.figure.with(goal)),
        };
        let met = match self.is_met() {
            None => "",
            Some(true) => "yes",
            Some(false) => "NO",
        };
        [
            self.name.clone(),
            self.figure.to_string(),
            self.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}x")),
            goal,
            met.to_owned(),
            self.remark.clone(),
        ]
    }
}

impl Figure {
    fn value(self) -> Option<f64> {
        match self {
            Self::Bytes(value)
            | Self::Nanos(value)
            | Self::Seconds(value)
            | Self::Instructions(value) => Some(value),
            Self::Unmeasured => None,
        }
    }

    /// Returns another value in the same unit.
    fn with(self, value: f64) -> Self {
        match self {
            Self::Bytes(_) => Self::Bytes(value),
            Self::Nanos(_) => Self::Nanos(value),
            Self::Seconds(_) => Self::Seconds(value),
            Self::Instructions(_) => Self::Instructions(value),
            Self::Unmeasured => Self::Unmeasured,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(value) => write!(f, "{} B", grouped(*value)),
            Self::Nanos(value) if *value < 10.0 => write!(f, "{value:.1} ns"),
            Self::Nanos(value) => write!(f, "{} ns", grouped(*value)),
            Self::Seconds(value) => write!(f, "{value:.3} s"),
            Self::Instructions(value) if *value < 100.0 => write!(f, "{value:.2}"),
            Self::Instructions(value) => write!(f, "{}", grouped(*value)),
            Self::Unmeasured => write!(f, "-"),
        }
    }
}

/// Formats a number with commas between thousands.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if 0 < place && (digits.len() - place).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Renders rows in aligned columns.
pub(crate) fn render(rows: &[Row]) -> String {
    let head = ["name", "figure", "ratio", "goal", "met", "remark"].map(str::to_owned);
    let mut lines = vec![head];
    lines.extend(rows.iter().map(Row::cells));
    let widths: Vec<usize> = (0..6)
        .map(|column| lines.iter().map(|it| it[column].chars().count()).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    for [name, figure, ratio, goal, met, remark] in lines {
        let [name_width, figure_width, ratio_width, goal_width, met_width, _] = widths[..] else {
            continue;
        };
        let line = format!(
            "{name:name_width$}  {figure:>figure_width$}  {ratio:>ratio_width$}  \
             {goal:>goal_width$}  {met:met_width$}  {remark}"
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
