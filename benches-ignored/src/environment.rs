//! Where and from what a result was measured.

use std::process::Command;
use std::time::SystemTime;

use serde::Serialize;
use sysinfo::{CpuRefreshKind, RefreshKind, System};

/// The versions that this program was built with.
const LOCK: &str = include_str!("../Cargo.lock");

/// The machine and the build behind a result.
#[derive(Debug, Clone, Serialize)]
pub struct Environment {
    /// When the measurement began, in UTC.
    pub date: String,
    /// What the processor calls itself.
    pub cpu: String,
    /// Logical cores that this process may use.
    pub cores: usize,
    /// The operating system and its kernel.
    pub system: String,
    /// The compiler found beside this program.
    pub rustc: String,
    /// How this program was built.
    pub build: String,
    /// The source's commit, and whether there were changes on top of it.
    pub commit: String,
    /// The packages that matter here, with their versions.
    pub packages: Vec<String>,
    /// One-minute load average before the first round.
    pub load_before: f64,
    /// One-minute load average after the last round, this program's own load included.
    pub load_after: f64,
}

impl Environment {
    /// Looks around; `packages` are looked up in the lock file.
    pub fn observe(packages: &[&str]) -> Self {
        let cpus = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
        let cpu = System::new_with_specifics(cpus)
            .ok()
            .and_then(|system| Some(system.cpus().first()?.brand().trim().to_owned()))
            .unwrap_or_else(|| "unknown".to_owned());
        let packages = packages
            .iter()
            .map(|name| format!("{name} {}", locked_version(name)))
            .collect();
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            cpu,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            rustc: said_by("rustc", &["--version"]),
            build: build(),
            commit: commit(),
            packages,
            load_before: load(),
            load_after: 0.0,
        }
    }

    /// Adds what peers say that they are.
    pub fn add(&mut self, versions: &[String]) {
        self.packages.extend_from_slice(versions);
    }

    /// Notes how loaded the machine is at the end.
    pub fn conclude(&mut self) {
        self.load_after = load();
    }

    /// The same as a Markdown list.
    pub fn to_markdown(&self) -> String {
        format!(
            "- {date}; {cpu}, {cores} cores; {system}; load average {before:.1} before, \
             {after:.1} after (the benchmark's own load included)\n\
             - modelpool at {commit}; {rustc}; {build}\n\
             - {packages}\n",
            date = self.date,
            cpu = self.cpu,
            cores = self.cores,
            system = self.system,
            before = self.load_before,
            after = self.load_after,
            commit = self.commit,
            rustc = self.rustc,
            build = self.build,
            packages = self.packages.join(", "),
        )
    }
}

fn load() -> f64 {
    System::load_average().map_or(f64::NAN, |load| load.one)
}

fn build() -> String {
    let profile = if cfg!(debug_assertions) {
        "debug profile: not fit for comparison"
    } else {
        "cargo's release profile with line tables (opt-level 3, no LTO, 16 codegen units)"
    };
    let flags = option_env!("RUSTFLAGS").filter(|flags| !flags.is_empty());
    format!("{profile}, RUSTFLAGS {}", flags.unwrap_or("none"))
}

fn commit() -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let hash = said_by("git", &["-C", root, "rev-parse", "--short", "HEAD"]);
    let changes = said_by("git", &["-C", root, "status", "--porcelain", "src"]);
    match changes.as_str() {
        "" => hash,
        _ => format!("{hash} with changes in src"),
    }
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or("unknown".to_owned(), |text| text.trim().to_owned())
}

fn locked_version(package: &str) -> &'static str {
    let name = format!("name = \"{package}\"");
    LOCK.lines()
        .skip_while(|line| *line != name)
        .nth(1)
        .and_then(|line| line.strip_prefix("version = \""))
        .map_or("unknown", |version| version.trim_end_matches('"'))
}
