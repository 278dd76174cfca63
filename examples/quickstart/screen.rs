//! What is drawn: lines that stay, and on a terminal a panel below them that is redrawn in place.

use std::env;
use std::io::{self, Write};
use std::time::Duration;

use console::{Alignment, Term, pad_str, style, truncate_str};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use modelpool::PoolStatus;
use modelpool::pool::core::WorkerState;
use modelpool::sources::ProgressEvent;

const BAR_WIDTH: usize = 24;

/// Where the story is shown. Cheap to clone; clones draw on the same screen.
#[derive(Clone)]
pub struct Screen {
    /// `None` where output is not a terminal.
    panel: Option<ProgressBar>,
}

impl Screen {
    /// A panel if stdout is a terminal that can redraw; colours if nothing speaks against them.
    pub fn new() -> Self {
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let terminal = Term::stdout().is_term() && env::var("TERM").is_ok_and(|it| it != "dumb");
        console::set_colors_enabled(terminal && !is_set("NO_COLOR") && !is_set("CI"));
        let panel = terminal.then(|| {
            let layout = ProgressStyle::with_template("{msg}");
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout())
                .with_style(layout.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        Self { panel }
    }

    pub fn is_live(&self) -> bool {
        self.panel.is_some()
    }

    /// A line that stays.
    pub fn line(&self, text: impl AsRef<str>) {
        match &self.panel {
            Some(panel) => panel.println(text),
            // A reader that has closed the pipe wants no more lines; the story goes on.
            None => drop(writeln!(io::stdout(), "{}", text.as_ref())),
        }
    }

    pub fn heading(&self, number: usize, title: &str) {
        let (number, title) = (style(number).cyan().bold(), style(title).bold());
        self.line(format!("\n{number} {title}"));
    }

    /// Says what was done so that there is something to see.
    pub fn aside(&self, text: &str) {
        for line in text.lines() {
            self.line(style(format!("  {line}")).dim().to_string());
        }
    }

    /// Draws the pool as it is now in the panel.
    pub fn redraw(&self, status: &PoolStatus, rate: Option<f64>) {
        let Some(panel) = &self.panel else {
            return;
        };
        let width = usize::from(Term::stdout().size().1).saturating_sub(1);
        let lines = [
            String::new(),
            ledger_line(status),
            answers_line(status, rate),
        ];
        let lines = lines.into_iter().chain(worker_lines(status));
        let cut = lines.map(|line| truncate_str(&line, width, "…").into_owned());
        panel.set_message(cut.collect::<Vec<String>>().join("\n"));
    }

    /// Draws how far a file's download is in the panel; once it is whole, a line stays.
    pub fn download(&self, event: &ProgressEvent) {
        let (done, total) = (event.bytes_done, event.bytes_total);
        let bar = bar(done as f64 / total.max(1) as f64);
        let (done_bytes, total_bytes) = (HumanBytes(done), HumanBytes(total));
        let text = format!("  {bar}  {done_bytes} of {total_bytes}  {}", event.file);
        match &self.panel {
            Some(panel) if done < total => panel.set_message(text),
            _ if done == total => self.line(text),
            _ => {}
        }
    }

    /// Takes the panel away; the lines stay.
    pub fn clear(&self) {
        if let Some(panel) = &self.panel {
            panel.finish_and_clear();
        }
    }
}

fn ledger_line(status: &PoolStatus) -> String {
    let (reserved, limit) = (status.memory.reserved_mb, status.memory.limit_mb);
    let bar = bar(reserved as f64 / limit.max(1) as f64);
    format!(
        "  {} {bar}  {reserved} of {limit} MiB reserved",
        column("ledger")
    )
}

/// How many requests were answered; `rate` is in answers a second.
pub fn answers_line(status: &PoolStatus, rate: Option<f64>) -> String {
    let (mut asked, mut answered, mut waiting) = (0, 0, 0);
    for model in &status.models {
        asked += model.metrics.accepted;
        answered += model.metrics.answered;
        waiting += model.queue.interactive + model.queue.batch;
    }
    let bar = bar(answered as f64 / asked.max(1) as f64);
    let rate = rate.map_or(String::new(), |rate| format!(", {rate:.0}/s"));
    let title = column("answered");
    format!("  {title} {bar}  {answered} of {asked}{rate}; {waiting} wait")
}

/// What each worker does, and its share of its model's requests.
fn worker_lines(status: &PoolStatus) -> Vec<String> {
    let mut lines = Vec::new();
    for model in &status.models {
        for worker in &model.workers {
            let bar = bar(worker.answered as f64 / model.metrics.accepted.max(1) as f64);
            let state = style(format!(
                "{:<9}",
                format!("{:?}", worker.state).to_lowercase()
            ));
            let state = match worker.state {
                WorkerState::Idle => state.dim(),
                WorkerState::Busy => state.green(),
                _ => state.yellow(),
            };
            let (name, id, answered) = (column(&model.name), worker.id.0, worker.answered);
            lines.push(format!(
                "  {name} {bar}  worker {id:<2}  {state} {answered}"
            ));
        }
    }
    lines
}

/// A model's name in a column of its own: of a hub's id, the part that tells models apart.
pub fn column(name: &str) -> String {
    let own = name.rsplit('/').next().unwrap_or(name);
    pad_str(own, 16, Alignment::Left, Some("…")).into_owned()
}

/// A bar that is full at 1.
pub fn bar(share: f64) -> String {
    let filled = (share.clamp(0.0, 1.0) * BAR_WIDTH as f64).round() as usize;
    let (full, rest) = ("━".repeat(filled), "─".repeat(BAR_WIDTH - filled));
    format!("{}{}", style(full).cyan(), style(rest).dim())
}

/// A time as a person would say it.
pub fn short(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1e-3 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}
