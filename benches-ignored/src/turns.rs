//! Contenders that take turns, so that whatever else the machine does meets all of them alike.

use std::fmt::Write;

use serde::Serialize;

use crate::Failure;
use crate::neighbours::{DISTURBED, Neighbours};
use crate::plot::{self, Bar};
use crate::summary::Spread;

/// With fewer undisturbed turns than this, the disturbed ones count too.
const ENOUGH: usize = 3;

/// One way to do the work, and how to measure it once.
pub struct Contender<'a> {
    name: String,
    is_ours: bool,
    measure: Box<dyn FnMut() -> Result<f64, Failure> + 'a>,
}

impl<'a> Contender<'a> {
    /// One of modelpool's ways.
    pub fn ours(
        name: impl Into<String>,
        measure: impl FnMut() -> Result<f64, Failure> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            is_ours: true,
            measure: Box::new(measure),
        }
    }

    /// Another's way.
    pub fn peer(
        name: impl Into<String>,
        measure: impl FnMut() -> Result<f64, Failure> + 'a,
    ) -> Self {
        Self {
            is_ours: false,
            ..Self::ours(name, measure)
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What contenders were compared by, and how each did.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    title: String,
    unit: String,
    turns: usize,
    turns_undisturbed: usize,
    scores: Vec<Score>,
}

/// How one contender did.
#[derive(Debug, Clone, Serialize)]
struct Score {
    name: String,
    is_ours: bool,
    value: Spread,
    /// The first of modelpool's ways over this one, turn by turn.
    ours_over_this: Spread,
    /// How many cores other processes kept busy meanwhile.
    others_cores: Spread,
    /// Of all turns, in order.
    rounds: Vec<f64>,
}

/// Lets each contender measure once unheard, to warm up, and then in `turns` turns.
///
/// # Errors
/// The first that a contender fails with.
pub fn take(
    title: &str,
    unit: &str,
    turns: usize,
    neighbours: &mut Neighbours,
    mut contenders: Vec<Contender<'_>>,
) -> Result<Table, Failure> {
    let count = contenders.len();
    let mut values = vec![Vec::new(); count];
    let mut others = vec![Vec::new(); count];
    eprintln!("{title}, {unit}");
    for turn in 0..=turns {
        neighbours.rest();
        eprint!(
            "  {}:",
            if turn == 0 {
                "warm-up".to_owned()
            } else {
                format!("{turn} of {turns}")
            }
        );
        for place in 0..count {
            // Each turn begins with another one, so that none always follows the same.
            let number = (place + turn) % count;
            let contender = &mut contenders[number];
            neighbours.busy_cores();
            let value =
                (contender.measure)().map_err(|error| format!("{}: {error}", contender.name))?;
            let busy = neighbours.busy_cores();
            eprint!("  {} {value:.4}", contender.name);
            if turn > 0 {
                values[number].push(value);
                others[number].push(busy);
            }
        }
        eprintln!();
    }
    let quiet = |turn: usize| {
        others
            .iter()
            .all(|others: &Vec<f64>| others[turn] <= DISTURBED)
    };
    let mut counted: Vec<usize> = (0..turns).filter(|turn| quiet(*turn)).collect();
    let turns_undisturbed = counted.len();
    if turns_undisturbed < ENOUGH.min(turns) {
        counted = (0..turns).collect();
    }
    let ours = contenders.iter().position(|contender| contender.is_ours);
    let scores = contenders.iter().enumerate().map(|(number, contender)| {
        let pick = |from: &Vec<f64>| Spread::of(counted.iter().map(|turn| from[*turn]));
        let ratios = ours.into_iter().flat_map(|ours| {
            let ratio = |turn: &usize| values[ours][*turn] / values[number][*turn];
            counted.iter().map(ratio).collect::<Vec<f64>>()
        });
        Score {
            name: contender.name.clone(),
            is_ours: contender.is_ours,
            value: pick(&values[number]),
            ours_over_this: Spread::of(ratios),
            others_cores: pick(&others[number]),
            rounds: values[number].clone(),
        }
    });
    Ok(Table {
        title: title.to_owned(),
        unit: unit.to_owned(),
        turns,
        turns_undisturbed,
        scores: scores.collect(),
    })
}

impl Table {
    /// As Markdown: medians with the lowest and the highest, and the ratios to modelpool.
    pub fn to_markdown(&self) -> String {
        let ours = self.scores.iter().find(|score| score.is_ours);
        let ours = ours.map_or("modelpool", |score| score.name.as_str());
        let mut page = format!(
            "## {title}\n\n| | {unit} | {ours} ÷ this | others' cores |\n\
             | --- | ---: | ---: | ---: |\n",
            title = self.title,
            unit = self.unit,
        );
        for score in &self.scores {
            let mark = if score.is_ours { "**" } else { "" };
            // Writing into a string cannot fail.
            let _ = writeln!(
                page,
                "| {mark}{}{mark} | {} | {} | {:.2} |",
                score.name,
                score.value.written(digits),
                score.ours_over_this,
                score.others_cores.median,
            );
        }
        let _ = writeln!(
            page,
            "\n{} of {} turns passed undisturbed by other processes{}.",
            self.turns_undisturbed,
            self.turns,
            match self.turns_undisturbed {
                few if few < ENOUGH.min(self.turns) => "; all count, so read ratios only",
                _ => ", and only those count",
            }
        );
        page
    }

    /// As bars.
    pub fn plot(&self) -> String {
        let bar = |score: &Score| Bar {
            label: score.name.clone(),
            value: score.value,
            is_ours: score.is_ours,
        };
        let bars: Vec<Bar> = self.scores.iter().map(bar).collect();
        plot::bars(&self.title, &self.unit, &bars)
    }
}

/// No more digits than mean anything.
fn digits(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
