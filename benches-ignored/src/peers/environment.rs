//! Virtual environments for peers, made once.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::scripts;
use crate::Failure;

/// The Python to run a peer with: of the environment `given`, or else of one under `target/python`
/// that holds what `peers/<name>.txt` asks for, version for version. Making it takes minutes, once.
///
/// # Errors
/// One line on what is missing: Python, its `venv` module, or a package that pip cannot install.
pub fn provide(name: &str, given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(folder) = given {
        let python = executable(folder);
        return if python.is_file() {
            Ok(python)
        } else {
            Err(format!("--python: there is no {}", python.display()).into())
        };
    }
    let requirements = scripts().join(format!("{name}.txt"));
    let wanted = fs::read_to_string(&requirements)
        .map_err(|error| format!("{}: {error}", requirements.display()))?;
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python");
    let folder = all.join(name);
    // Written last: it says that the environment is whole, and what it holds.
    let installed = folder.join("installed.txt");
    let is_ready = || fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted);
    if !is_ready() {
        fs::create_dir_all(&all)?;
        let lock = File::create(all.join(format!("{name}.lock")))?;
        lock.lock()?;
        if !is_ready() {
            eprintln!("peers: installing {name}.txt into {}", folder.display());
            make(&folder, &requirements)?;
            fs::write(&installed, &wanted)?;
        }
    }
    Ok(executable(&folder))
}

/// Runs a script that makes something that peers need, to its end.
///
/// # Errors
/// The last line of its complaint.
pub fn run_script<A: AsRef<OsStr>>(
    python: &Path,
    script: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<(), Failure> {
    run(Command::new(python)
        .arg(scripts().join(script))
        .args(arguments))
}

fn make(folder: &Path, requirements: &Path) -> Result<(), Failure> {
    let mut venv = Command::new("python3");
    run(venv.args(["-m", "venv"]).arg(folder))?;
    let mut pip = Command::new(executable(folder));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "-r"]);
    run(pip.arg(requirements))
}

/// Runs a command; what it says on the way to a failure is cut down to one line.
fn run(command: &mut Command) -> Result<(), Failure> {
    let shown = format!("{command:?}").replace('"', "");
    let output = command
        .output()
        .map_err(|error| format!("{shown}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let mut lines = said.lines().filter(|line| !line.trim().is_empty());
    // pip's own verdict stands in a line that begins so; hints may follow it.
    let verdict = lines
        .clone()
        .find(|line| line.trim_start().starts_with("ERROR:"))
        .or_else(|| lines.next_back())
        .unwrap_or("it said nothing");
    Err(format!("{shown} failed: {}", verdict.trim()).into())
}

fn executable(folder: &Path) -> PathBuf {
    if cfg!(windows) {
        folder.join("Scripts").join("python.exe")
    } else {
        folder.join("bin").join("python")
    }
}
