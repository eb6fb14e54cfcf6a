//! `detcd-sim merge`: the results of many campaigns, or of the shards of one, as one summary.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use crate::args::{MergeArgs, UsageError};
use crate::fold::Fold;
use crate::results::{Commit, Line};

/// Folds the results in all files and prints the summary to `to`; the exit status.
///
/// # Errors
/// A file cannot be read, or a line of it is wrong.
pub fn merge(args: &MergeArgs, mut to: impl Write) -> Result<u8, UsageError> {
    let mut fold = Fold::default();
    for file in &args.files {
        add_file(&mut fold, file)?;
    }
    fold.judge_work(&args.at_least);
    let text = if args.json { format!("{}\n", fold.json()) } else { fold.text(true) };
    // Without a reader the status has to do.
    let _ = to.write_all(text.as_bytes());
    Ok(fold.exit_status())
}

/// Adds the results in one file. The last line may be torn: the campaign may be running still, or was killed.
fn add_file(fold: &mut Fold, path: &Path) -> Result<(), UsageError> {
    let wrong = |what: &dyn std::fmt::Display| UsageError(format!("{}: {what}", path.display()));
    let mut from = BufReader::new(File::open(path).map_err(|error| wrong(&error))?);
    let mut commit = Commit::default();
    let (mut is_campaign, mut planted) = (false, None);
    let mut text = Vec::new();
    for number in 1_u64.. {
        text.clear();
        from.read_until(b'\n', &mut text).map_err(|error| wrong(&error))?;
        if !text.ends_with(b"\n") {
            break;
        }
        let line = std::str::from_utf8(&text).map_err(|error| error.to_string()).and_then(Line::parse);
        match line.map_err(|what| wrong(&format!("line {number}: {what}")))? {
            Line::Head(head) => {
                is_campaign = true;
                commit = head.commit.parse().unwrap_or_default();
            }
            Line::Run(told) => match told.planted {
                Some(reported) => planted = Some(planted.unwrap_or(true) && reported),
                None => drop(fold.add(&told, &commit)),
            },
        }
    }
    if is_campaign && planted != Some(true) {
        fold.lacks(format!("{} does not report the planted failure", path.display()));
    }
    Ok(())
}
