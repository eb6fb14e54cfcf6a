//! Unified diffs, as `git diff` prints them, applied without any tool: strictly, so that a patch that no longer fits is
//! noticed instead of guessed into place. A hunk may have moved up or down; its lines must be there to the letter.

use std::collections::BTreeMap;
use std::fmt;

/// A patch of one or more files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    files: Vec<FilePatch>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct FilePatch {
    /// Relative to the root; `None` if the patch makes the file.
    from: Option<String>,
    /// Relative to the root; `None` if the patch removes the file.
    to: Option<String>,
    hunks: Vec<Hunk>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hunk {
    /// Where it was, counted from 0.
    at: usize,
    before: Vec<String>,
    after: Vec<String>,
}

/// Why a patch cannot be read or applied. One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchError(String);

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatchError {}

impl Patch {
    /// Reads a unified diff.
    ///
    /// # Errors
    /// The line that cannot be understood.
    pub fn parse(text: &str) -> Result<Patch, PatchError> {
        let mut files: Vec<FilePatch> = Vec::new();
        let mut lines = text.lines().enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            let wrong = |what: &str| PatchError(format!("line {}: {what}", number + 1));
            if let Some(from) = line.strip_prefix("--- ") {
                let to = lines.next().and_then(|(_, line)| line.strip_prefix("+++ "));
                let to = to.ok_or_else(|| wrong("`---` without `+++`"))?;
                files.push(FilePatch { from: path(from), to: path(to), hunks: Vec::new() });
            } else if let Some(head) = line.strip_prefix("@@ -") {
                let file = files.last_mut().ok_or_else(|| wrong("a hunk before any file"))?;
                let (at, before, after) = hunk_head(head).ok_or_else(|| wrong("not a hunk's head"))?;
                let mut hunk = Hunk { at, ..Hunk::default() };
                while hunk.before.len() < before || hunk.after.len() < after {
                    let (number, line) = lines.next().ok_or_else(|| wrong("the hunk ends too early"))?;
                    let wrong = || PatchError(format!("line {}: neither context nor change", number + 1));
                    hunk.take(line).ok_or_else(wrong)?;
                }
                file.hunks.push(hunk);
            }
        }
        if files.iter().all(|file| file.hunks.is_empty()) {
            return Err(PatchError("it changes nothing".to_string()));
        }
        Ok(Patch { files })
    }

    /// The files that change, by their paths relative to the root, each with its new text; `None` for a file that is
    /// removed. `read` gives the text that a file has now.
    ///
    /// # Errors
    /// The first hunk that does not fit; nothing is changed then.
    pub fn apply(&self, read: impl Fn(&str) -> Option<String>) -> Result<BTreeMap<String, Option<String>>, PatchError> {
        let mut changed = BTreeMap::new();
        for file in &self.files {
            let text = match &file.from {
                Some(from) => read(from).ok_or_else(|| PatchError(format!("there is no {from}")))?,
                None => String::new(),
            };
            let name = file.to.as_ref().or(file.from.as_ref());
            let name = name.ok_or_else(|| PatchError("a file from nowhere to nowhere".to_string()))?;
            let text = file.patched(&text).map_err(|hunk| PatchError(format!("hunk {hunk} of {name} does not fit")))?;
            if let Some(from) = &file.from {
                changed.insert(from.clone(), None);
            }
            if let Some(to) = &file.to {
                changed.insert(to.clone(), Some(text));
            }
        }
        Ok(changed)
    }
}

impl FilePatch {
    /// The text with all hunks applied; or the number, counted from 1, of the one that does not fit.
    fn patched(&self, text: &str) -> Result<String, usize> {
        let lines: Vec<&str> = text.lines().collect();
        let mut patched: Vec<&str> = Vec::new();
        let (mut done, mut moved) = (0, 0);
        for (hunk, number) in self.hunks.iter().zip(1_usize..) {
            let at = hunk.find(&lines, done, moved).ok_or(number)?;
            moved = at as i64 - hunk.at as i64;
            patched.extend(&lines[done..at]);
            patched.extend(hunk.after.iter().map(String::as_str));
            done = at + hunk.before.len();
        }
        patched.extend(&lines[done..]);
        Ok(patched.iter().flat_map(|line| [line, "\n"]).collect())
    }
}

impl Hunk {
    fn take(&mut self, line: &str) -> Option<()> {
        match line.as_bytes().first() {
            // Some editors take away the one blank of an empty line of context.
            None | Some(b' ') => {
                let line = line.get(1..).unwrap_or_default().to_string();
                self.before.push(line.clone());
                self.after.push(line);
            }
            Some(b'-') => self.before.push(line[1..].to_string()),
            Some(b'+') => self.after.push(line[1..].to_string()),
            Some(b'\\') => {}
            Some(_) => return None,
        }
        Some(())
    }

    /// Where in `lines`, from `least` on, the hunk's old lines stand; the place nearest to where they should be, given
    /// how far the hunk before has moved.
    fn find(&self, lines: &[&str], least: usize, moved: i64) -> Option<usize> {
        let fits = |at: usize| lines[at..at + self.before.len()].iter().zip(&self.before).all(|(a, b)| a == b);
        let last = lines.len().checked_sub(self.before.len())?;
        let due = self.at as i64 + moved;
        (least..=last).filter(|at| fits(*at)).min_by_key(|at| (*at as i64 - due).abs())
    }
}

/// `a/core/src/x.rs` without its first part; `None` for `/dev/null`.
fn path(name: &str) -> Option<String> {
    let name = name.split('\t').next().unwrap_or(name);
    (name != "/dev/null").then(|| name.split_once('/').map_or(name, |(_, rest)| rest).to_string())
}

/// `12,5 +12,6 @@`: the first line, counted from 0, and how many lines there are before and after.
fn hunk_head(head: &str) -> Option<(usize, usize, usize)> {
    let (before, rest) = head.split_once(" +")?;
    let (after, _) = rest.split_once(" @@")?;
    let numbers = |part: &str| -> Option<(usize, usize)> {
        let (start, count) = part.split_once(',').unwrap_or((part, "1"));
        Some((start.parse().ok()?, count.parse().ok()?))
    };
    let ((start, before), (_, after)) = (numbers(before)?, numbers(after)?);
    Some((start.saturating_sub(1), before, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "one\ntwo\nthree\n\nfour\nfive\n";
    const DIFF: &str = "\
diff --git a/src/a.txt b/src/a.txt
index 1..2 100644
--- a/src/a.txt
+++ b/src/a.txt
@@ -1,3 +1,3 @@ fn
 one
-two
+2
 three
@@ -5,2 +5,3 @@
 four
+four and a half
 five
";

    fn apply(diff: &str, text: &str) -> Result<String, PatchError> {
        let read = |name: &str| (name == "src/a.txt").then(|| text.to_string());
        let changed = Patch::parse(diff)?.apply(read)?;
        Ok(changed["src/a.txt"].clone().expect("it is not removed"))
    }

    #[test]
    fn hunks_go_where_their_lines_stand() {
        let patched = "one\n2\nthree\n\nfour\nfour and a half\nfive\n";
        assert_eq!(apply(DIFF, TEXT).as_deref(), Ok(patched));
        let moved = format!("zero\nmore\n{TEXT}rest\n");
        assert_eq!(apply(DIFF, &moved), Ok(format!("zero\nmore\n{patched}rest\n")));
    }

    #[test]
    fn of_several_places_the_nearest_is_taken() {
        let diff = "--- a/src/a.txt\n+++ b/src/a.txt\n@@ -4 +4 @@\n-x\n+y\n";
        assert_eq!(apply(diff, "x\na\nb\nx\nc\nx\n").as_deref(), Ok("x\na\nb\ny\nc\nx\n"));
    }

    #[test]
    fn what_does_not_fit_to_the_letter_is_refused() {
        let error = apply(DIFF, "one\ntwo!\nthree\n\nfour\nfive\n").expect_err("a line differs");
        assert_eq!(error.to_string(), "hunk 1 of src/a.txt does not fit");
        let error = apply(DIFF, "one\ntwo\nthree\n\nfour\n").expect_err("a line is missing");
        assert_eq!(error.to_string(), "hunk 2 of src/a.txt does not fit");
        let error = apply(DIFF, &apply(DIFF, TEXT).expect("it fits")).expect_err("it fits only once");
        assert_eq!(error.to_string(), "hunk 1 of src/a.txt does not fit");
        let nothing = |_: &str| None;
        let error = Patch::parse(DIFF).expect("a diff").apply(nothing).expect_err("there is no file");
        assert_eq!(error.to_string(), "there is no src/a.txt");
    }

    #[test]
    fn files_are_made_and_removed() {
        let diff =
            "--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1,2 @@\n+a\n+b\n--- a/old.txt\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n";
        let changed = Patch::parse(diff).expect("a diff").apply(|_| Some("x\n".to_string())).expect("it fits");
        let expected = [("new.txt".to_string(), Some("a\nb\n".to_string())), ("old.txt".to_string(), None)];
        assert_eq!(changed, BTreeMap::from(expected));
    }

    #[test]
    fn what_is_no_diff_is_refused() {
        assert!(Patch::parse("hello\n").is_err());
        assert!(Patch::parse("--- a/x\nhello\n").is_err());
        assert!(Patch::parse("--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n one\n").is_err());
        assert!(Patch::parse("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n one\nwhat\n").is_err());
    }
}
