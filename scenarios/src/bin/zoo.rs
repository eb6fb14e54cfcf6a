//! `cargo zoo`: plants known bugs, one after the other, in a scratch copy of the workspace, and shows which checker
//! catches each, after how many seeds; then runs the tree as it is over the same budget, which must be silent.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use detcd_scenarios::args::{self, UsageError};
use detcd_scenarios::campaign::fresh_seed;
use detcd_scenarios::zoo::hunt::Hunt;
use detcd_scenarios::zoo::plant::Plant;
use detcd_scenarios::zoo::table::{Line, head};
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
    /// Plant this patch instead; whichever checker catches it is right
    #[arg(long, value_name = "FILE", conflicts_with = "slugs")]
    patch: Option<PathBuf>,
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
    let tree = Tree::of(&workspace);
    let slug_width = plants.iter().map(|plant| plant.slug.len()).max().unwrap_or(0).max("clean".len());
    if !cli.json {
        println!("{}", head(slug_width));
    }
    let mut all_ok = true;
    let mut tell = |line: Line| {
        all_ok &= line.ok;
        if cli.json {
            println!("{}", serde_json::to_string(&line).expect("a line is JSON"));
        } else {
            println!("{}", line.text(slug_width));
        }
    };
    let hunt = |until_first, plant: Option<&Plant>, slug: &str| {
        let binaries = tree.build(plant)?;
        let hunt = Hunt { scenario: cli.scenario.clone(), seconds: cli.seconds, until_first, seed: fresh_seed() };
        hunt.go(&binaries, &tree.failures(slug))
    };
    for plant in &plants {
        eprintln!("{}: {}", plant.slug, if plant.what.is_empty() { "building and hunting" } else { &plant.what });
        tell(Line::of_plant(plant, hunt(true, Some(plant), &plant.slug)));
    }
    tell(Line::of_clean(hunt(false, None, "clean")));
    Ok(all_ok)
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
