//! `cargo zoo`: plants known bugs, one after the other, in a scratch copy of the workspace, and shows which checker
//! catches each, after how many seeds; then runs the tree as it is over the same budget, which must be silent.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use detcd_core::digest::Digest;
use detcd_scenarios::args::{self, UsageError};
use detcd_scenarios::campaign::fresh_seed;
use detcd_scenarios::zoo::hunt::{Catch, Hunt};
use detcd_scenarios::zoo::plant::Plant;
use detcd_scenarios::zoo::state::{Done, key};
use detcd_scenarios::zoo::table::{CLEAN, Line, head};
use detcd_scenarios::zoo::tree::Tree;

/// Plants known bugs and shows which checker catches them.
#[derive(Debug, Parser)]
#[command(name = "zoo", version)]
struct Cli {
    /// Names of planted bugs (files in scenarios/bugs); all of them by default
    #[arg(value_name = "SLUG")]
    slugs: Vec<String>,
    /// Hunt each bug for at most this long
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The scenario whose seeds are run
    #[arg(long, value_name = "SCENARIO", default_value = "swarm")]
    scenario: String,
    /// Run this many seeds at once; as many as there are cores by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    jobs: Option<u64>,
    /// Plant this patch instead, where raft/ is raft-rs; whichever checker catches it is right
    #[arg(long, value_name = "FILE", conflicts_with = "slugs")]
    patch: Option<PathBuf>,
    /// Go on where the last run stopped: what was done with the same tree, patch and time is told again
    #[arg(long)]
    resume: bool,
    /// Print one JSON object a bug, a line each
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli: Cli = match args::parse() {
        Ok(cli) => cli,
        Err(told) => return told,
    };
    match zoo(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => args::refuse::<Cli>(&error),
    }
}

/// Hunts every wanted plant, then the clean tree; whether all went as it should.
fn zoo(cli: &Cli) -> Result<bool, UsageError> {
    let workspace = workspace()?;
    let plants = match &cli.patch {
        Some(patch) => vec![Plant::undescribed(patch)?],
        None => Plant::all(&workspace.join("scenarios").join("bugs"), &cli.slugs)?,
    };
    let tree = Tree::of(&workspace).map_err(UsageError)?;
    for plant in &plants {
        tree.patched(&plant.patch).map_err(|error| UsageError(format!("{}: {error}", plant.slug)))?;
    }
    let done = Done::begin(&tree.state_file(), cli.resume).map_err(UsageError)?;
    let digest = tree.digest().map_err(UsageError)?;
    let slug_width = plants.iter().map(|plant| plant.slug.len()).max().unwrap_or(0).max(CLEAN.len());
    let mut zoo = Zoo { cli, tree, digest, done, slug_width, all_ok: true };
    if !cli.json {
        print(&head(slug_width))?;
    }
    for plant in &plants {
        zoo.row(Some(plant))?;
    }
    zoo.row(None)?;
    Ok(zoo.all_ok)
}

/// A run through the zoo.
struct Zoo<'a> {
    cli: &'a Cli,
    tree: Tree,
    digest: Digest,
    done: Done,
    slug_width: usize,
    all_ok: bool,
}

impl Zoo<'_> {
    /// Makes and tells the row of a plant, or of the tree as it is; or tells it again if it was made before.
    fn row(&mut self, plant: Option<&Plant>) -> Result<(), UsageError> {
        let slug = plant.map_or(CLEAN, |plant| &plant.slug);
        let patch = plant.map_or("", |plant| &plant.patch);
        let key = key(slug, self.digest, patch, &self.cli.scenario, self.cli.seconds);
        if let Some(line) = self.done.get(&key).cloned() {
            return self.tell(&line);
        }
        let what = plant.map_or("", |plant| &plant.what);
        eprintln!("{slug}: {}", if what.is_empty() { "building and hunting" } else { what });
        let result = self.hunt(slug, plant);
        let is_made = result.is_ok();
        let line = match plant {
            Some(plant) => Line::of_plant(plant, result),
            None => Line::of_clean(result),
        };
        if is_made {
            self.done.add(key, line.clone()).map_err(UsageError)?;
        }
        self.tell(&line)
    }

    fn hunt(&self, slug: &str, plant: Option<&Plant>) -> Result<Catch, String> {
        let binaries = self.tree.build(slug, plant.map(|plant| plant.patch.as_str()))?;
        let hunt = Hunt {
            scenario: self.cli.scenario.clone(),
            seconds: self.cli.seconds,
            until_first: plant.is_some(),
            seed: fresh_seed(),
            jobs: self.cli.jobs,
        };
        hunt.go(&binaries, &self.tree.failures(slug))
    }

    fn tell(&mut self, line: &Line) -> Result<(), UsageError> {
        self.all_ok &= line.ok;
        if self.cli.json {
            print(&serde_json::to_string(line).expect("a line is JSON"))
        } else {
            print(&line.text(self.slug_width))
        }
    }
}

/// Prints a line; whoever reads the lines may stop reading, and then nothing is left to do.
fn print(line: &str) -> Result<(), UsageError> {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(UsageError(format!("cannot write to standard output: {error}"))),
    }
}

/// The workspace whose copy gets the bugs: the nearest folder upwards that has `scenarios/bugs`, or where this was
/// built.
fn workspace() -> Result<PathBuf, UsageError> {
    let here = std::env::current_dir().map_err(|error| UsageError(format!("no current folder: {error}")))?;
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let found = here.ancestors().chain([built.as_path()]).find(|folder| folder.join("scenarios/bugs").is_dir());
    let found = found.ok_or_else(|| UsageError("run this inside a checkout of detcd".to_string()))?;
    found.canonicalize().map_err(|error| UsageError(format!("{}: {error}", found.display())))
}
