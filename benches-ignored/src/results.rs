//! Where results are kept: beside the sources, as JSON for programs, as a page for people.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::Failure;

/// What one run of a suite has to show.
#[derive(Debug)]
pub struct Page<'a, R> {
    /// The suite's name, which the files bear.
    pub name: &'a str,
    /// Everything that was found, every round of it.
    pub report: &'a R,
    /// The page without its plots.
    pub markdown: String,
    /// Plots by the ends of their names, in the order in which the page shows them.
    pub plots: Vec<(&'static str, String)>,
}

impl<R: Serialize> Page<'_, R> {
    /// Shows the page on the terminal and, if `keep`, writes it with its data and plots.
    ///
    /// # Errors
    /// What the file system says.
    pub fn publish(&self, keep: bool) -> Result<(), Failure> {
        println!("\n{}", self.markdown);
        if !keep {
            return Ok(());
        }
        let name = self.name;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        fs::create_dir_all(&folder)?;
        let mut page = self.markdown.trim_end().to_owned();
        for (end, svg) in &self.plots {
            let file = format!("{name}-{end}.svg");
            page.push_str(&format!("\n\n![{end}]({file})"));
            fs::write(folder.join(file), svg)?;
        }
        page.push('\n');
        fs::write(folder.join(format!("{name}.md")), page)?;
        let mut json = serde_json::to_string_pretty(self.report)?;
        json.push('\n');
        fs::write(folder.join(format!("{name}.json")), json)?;
        eprintln!("written: {}", folder.join(format!("{name}.md")).display());
        Ok(())
    }
}
