//! What is drawn while the picture is.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use console::Term;
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use modelpool::sources::ProgressEvent;

/// A bar for each picture; lines above them that stay. Cheap to clone; clones draw on the same screen.
#[derive(Clone)]
pub struct Screen {
    /// `None` where nobody could see bars.
    bars: Option<MultiProgress>,
    pictures: BTreeMap<usize, ProgressBar>,
}

impl Screen {
    pub fn new() -> Self {
        let term = Term::stdout();
        let is_live = term.is_term() && std::env::var("TERM").is_ok_and(|it| it != "dumb");
        let bars = is_live.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stdout()));
        Self {
            bars,
            pictures: BTreeMap::new(),
        }
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match &self.bars {
            // A terminal that is gone shows nothing.
            Some(bars) => drop(bars.println(text)),
            None => drop(writeln!(io::stdout(), "{text}")),
        }
    }

    /// A file of the model has arrived.
    pub fn download(&self, event: &ProgressEvent) {
        if event.bytes_done == event.bytes_total {
            self.line(&format!(
                "{}  {}",
                HumanBytes(event.bytes_total),
                event.file
            ));
        }
    }

    /// A picture has come this far.
    pub fn step(&mut self, image: usize, step: usize, of: usize) {
        let Some(bars) = &self.bars else {
            return;
        };
        let bar = self.pictures.entry(image).or_insert_with(|| {
            let layout = "{prefix} {bar:30.cyan} step {pos} of {len}  {elapsed}, {eta} to go";
            let style = ProgressStyle::with_template(layout);
            let bar = ProgressBar::new(of as u64)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_prefix(format!("picture {}", image + 1));
            bars.add(bar)
        });
        bar.set_position(step as u64);
    }

    /// A picture is finished.
    pub fn finish(&mut self, image: usize) {
        if let Some(bar) = self.pictures.remove(&image) {
            bar.finish_and_clear();
        }
    }
}

/// A time as a person would say it.
pub fn short(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}
