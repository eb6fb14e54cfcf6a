//! What an interrupted run of the zoo has done: a file that gets a line with each row, so that `--resume` goes on
//! behind the last one.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use detcd_core::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::zoo::table::Line;

/// The rows that are done, and where they are written down.
#[derive(Debug)]
pub struct Done {
    file: PathBuf,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    key: String,
    line: Line,
}

/// Names a row: the same name is the same tree with the same patch, hunted in the same way.
pub fn key(slug: &str, tree: Digest, patch: &str, scenario: &str, seconds: u64) -> String {
    let parts = [slug, patch, scenario].map(|part| Digest::of(part.as_bytes()));
    let all = parts.into_iter().fold(tree, Digest::then).then(Digest::of(&seconds.to_le_bytes()));
    all.to_string()
}

impl Done {
    /// Begins with what `file` holds if the run goes on where one stopped, else with nothing.
    ///
    /// # Errors
    /// One line: the file cannot be made or removed.
    pub fn begin(file: &Path, resumes: bool) -> Result<Done, String> {
        let text = if resumes { fs::read_to_string(file).unwrap_or_default() } else { String::new() };
        // What is not a whole line was cut off when the run was.
        let rows = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let wrong = |error| format!("{}: {error}", file.display());
        fs::create_dir_all(file.parent().expect("a file is in a folder")).map_err(wrong)?;
        let done = Done { file: file.to_path_buf(), rows };
        done.rewrite().map_err(wrong)?;
        Ok(done)
    }

    fn rewrite(&self) -> std::io::Result<()> {
        let lines = self.rows.iter().map(|row| serde_json::to_string(row).expect("a row is JSON") + "\n");
        fs::write(&self.file, lines.collect::<String>())
    }

    /// The row of that name.
    pub fn get(&self, key: &str) -> Option<&Line> {
        self.rows.iter().rev().find(|row| row.key == key).map(|row| &row.line)
    }

    /// Writes a row down.
    ///
    /// # Errors
    /// One line: the file cannot be written.
    pub fn add(&mut self, key: String, line: Line) -> Result<(), String> {
        let row = Row { key, line };
        let text = serde_json::to_string(&row).expect("a row is JSON") + "\n";
        self.rows.push(row);
        let file = fs::File::options().append(true).open(&self.file);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| format!("{}: {error}", self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zoo::hunt::Catch;

    fn line(seeds: u64) -> Line {
        Line::of_clean(Ok(Catch { seeds, ..Catch::default() }))
    }

    #[test]
    fn a_run_goes_on_behind_the_last_whole_row() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("zoo").join("done.jsonl");
        let mut done = Done::begin(&file, true).expect("nothing is done yet");
        done.add("a".to_string(), line(1)).expect("written");
        done.add("b".to_string(), line(2)).expect("written");
        let cut = fs::read_to_string(&file).expect("it is there");
        fs::write(&file, &cut[..cut.len() - 9]).expect("cut");

        let mut done = Done::begin(&file, true).expect("it goes on");
        assert_eq!((done.get("a"), done.get("b")), (Some(&line(1)), None));
        done.add("b".to_string(), line(3)).expect("written");
        let done = Done::begin(&file, true).expect("it goes on");
        assert_eq!(done.get("b"), Some(&line(3)), "behind a line that was cut");
        let done = Done::begin(&file, false).expect("it begins anew");
        assert_eq!(done.get("a"), None);
    }

    #[test]
    fn a_row_is_named_by_all_that_decides_it() {
        let tree = Digest::of(b"tree");
        let name = key("slug", tree, "patch", "swarm", 60);
        assert_eq!(name, key("slug", tree, "patch", "swarm", 60));
        let others = [
            key("other", tree, "patch", "swarm", 60),
            key("slug", Digest::of(b"other"), "patch", "swarm", 60),
            key("slug", tree, "other", "swarm", 60),
            key("slug", tree, "patch", "calm", 60),
            key("slug", tree, "patch", "swarm", 61),
        ];
        assert!(others.iter().all(|other| *other != name));
    }
}
