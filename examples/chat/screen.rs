//! What is drawn.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use console::{Term, style, truncate_str};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use modelpool::sources::ProgressEvent;
use modelpool::{PoolStatus, Summary};

/// Where the conversation is shown. Cheap to clone; clones draw on the same screen.
#[derive(Clone)]
pub struct Screen {
    is_live: bool,
}

impl Screen {
    pub fn new() -> Self {
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_live = Term::stdout().is_term() && env::var("TERM").is_ok_and(|it| it != "dumb");
        console::set_colors_enabled(is_live && !is_set("NO_COLOR") && !is_set("CI"));
        Self { is_live }
    }

    /// Somebody types the questions, and sees the answers.
    pub fn is_conversation(&self) -> bool {
        self.is_live && io::stdin().is_terminal()
    }

    /// A remark in dim letters, on a line of its own.
    pub fn aside(&self, text: &str) {
        self.say(&format!("{}\n", style(text).dim()));
    }

    /// Where the next question is to be typed.
    pub fn ask(&self) {
        self.say(&format!("\n{} ", style("›").cyan().bold()));
    }

    /// Repeats a question that nobody has seen being typed.
    pub fn question(&self, text: &str) {
        self.say(&format!("{text}\n"));
    }

    /// Goes on with an answer.
    pub fn say(&self, text: &str) {
        let mut out = io::stdout();
        // A reader that has closed the pipe wants no more.
        let _ = write!(out, "{text}").and_then(|()| out.flush());
    }

    /// A line for each of several answers, redrawn as they grow; none where nobody could see it.
    pub fn lines(&self, count: usize) -> Vec<ProgressBar> {
        let target = if self.is_live {
            ProgressDrawTarget::stdout()
        } else {
            ProgressDrawTarget::hidden()
        };
        let all = MultiProgress::with_draw_target(target);
        let layout = ProgressStyle::with_template("{msg}");
        let layout = layout.unwrap_or_else(|_| ProgressStyle::default_spinner());
        (0..count)
            .map(|_| all.add(ProgressBar::no_length().with_style(layout.clone())))
            .collect()
    }

    /// Shows how far a file's download is.
    pub fn download(&self, event: &ProgressEvent) {
        let (done, total) = (HumanBytes(event.bytes_done), HumanBytes(event.bytes_total));
        if event.bytes_done == event.bytes_total {
            self.aside(&format!("{total}  {}", event.file));
        } else if self.is_live {
            self.say(&format!("\r{done} of {total}  {} \r", event.file));
        }
    }
}

/// The end of a text, as much as fits on one line.
pub fn tail(text: &str) -> String {
    let width = usize::from(Term::stdout().size().1).saturating_sub(1);
    let one_line = text.replace(['\n', '\r'], " ");
    let letters = one_line.chars().count();
    let last: String = one_line
        .chars()
        .skip(letters.saturating_sub(width))
        .collect();
    truncate_str(&last, width, "").into_owned()
}

/// What an answer cost.
pub fn account(summary: &Summary) -> String {
    let usage = summary.usage;
    let mut parts = vec![
        format!("{} tokens", usage.completion_tokens),
        format!("{:.0} tokens/s", summary.tokens_per_second()),
        format!("first after {}", short(summary.timings.first_token)),
    ];
    if usage.cached_tokens > 0 {
        let (cached, prompt) = (usage.cached_tokens, usage.prompt_tokens);
        parts.push(format!("{cached} of {prompt} prompt tokens from the cache"));
    }
    parts.join(" · ")
}

/// What the pool holds.
pub fn memory(status: &PoolStatus) -> String {
    let memory = status.memory;
    let workers = status.models.iter().flat_map(|model| &model.workers);
    let caches = workers.filter_map(|worker| worker.cache);
    let (used, blocks) = caches.fold((0, 0), |(used, blocks), cache| {
        (used + cache.used + cache.kept, blocks + cache.blocks)
    });
    let cache = match blocks {
        0 => String::new(),
        _ => format!(" · cache {}% full", used * 100 / blocks),
    };
    let (reserved, limit) = (memory.reserved_mb, memory.limit_mb);
    format!("{reserved} of {limit} MiB reserved{cache}")
}

/// A time as a person would say it.
pub fn short(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}
