//! Failure files: everything that a fresh process needs to run a failing seed again and to see that it fails the same
//! way. JSON with a format name, a version and a checksum around a body.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use detcd_core::digest::Digest;
use detcd_sim::run::{CrashPoint, RunOptions};
use detcd_sim::trail::DigestTrail;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::row::Verdict;

/// The name of the format, the first thing in each file.
const FORMAT: &str = "detcd-failure";

/// The version of the format that this build writes and reads.
pub const VERSION: u64 = 1;

/// A run that ended badly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The scenario's name.
    pub scenario: String,
    /// The whole text of the scenario's file, so that the run needs no catalogue.
    pub scenario_toml: String,
    /// The seed.
    pub seed: u64,
    /// Client operations that the run leaves out, by their ids.
    pub removed_ops: BTreeSet<u64>,
    /// Faults that the run leaves out, by their ids.
    pub removed_faults: BTreeSet<u64>,
    /// A crash beside those of the scenario.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash: Option<CrashPoint>,
    /// Which build found it.
    pub build: Build,
    /// How the run ended.
    pub verdict: Ending,
    /// The digest over every event of the run.
    pub digest: String,
    /// How many events the run had.
    pub events: u64,
    /// The digests on the way.
    pub trail: DigestTrail,
}

/// How a run ended, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ending {
    /// The kind of promise that was broken.
    pub kind: Verdict,
    /// Who noticed.
    pub checker: String,
    /// What happened, in one line.
    pub detail: String,
    /// When, in nanoseconds of virtual time.
    pub at_ns: u64,
}

/// A build of the simulator. Runs of different sources may differ; of different profiles they must not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The version of the package.
    pub version: String,
    /// A digest of the sources that decide how a run goes.
    pub source: String,
    /// Cargo's profile.
    pub profile: String,
    /// Operating system and processor.
    pub target: String,
}

impl Build {
    /// This build.
    pub fn this() -> Build {
        Build {
            version: env!("CARGO_PKG_VERSION").to_string(),
            source: env!("DETCD_SOURCE").to_string(),
            profile: env!("DETCD_PROFILE").to_string(),
            target: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// Why a failure file cannot be used. One line each.
#[derive(Debug)]
pub enum FailureError {
    /// The file cannot be read or written.
    Io(PathBuf, std::io::Error),
    /// It is no JSON, or ends too early.
    Unreadable(PathBuf, String),
    /// It is JSON, but no failure file.
    Foreign(PathBuf),
    /// It was written for another version of the format.
    Version(PathBuf, String),
    /// Its contents are not those that were written.
    Checksum(PathBuf),
}

impl fmt::Display for FailureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailureError::Io(path, error) => write!(f, "{}: {error}", path.display()),
            FailureError::Unreadable(path, why) => {
                write!(f, "{}: not a whole failure file: {why}", path.display())
            }
            FailureError::Foreign(path) => write!(f, "{}: not a failure file of detcd-sim", path.display()),
            FailureError::Version(path, version) => {
                let path = path.display();
                write!(f, "{path}: failure file of format version {version}; this build reads version {VERSION}")
            }
            FailureError::Checksum(path) => {
                write!(f, "{}: the checksum does not fit the contents; the file was changed", path.display())
            }
        }
    }
}

impl std::error::Error for FailureError {}

/// The file as it is laid out. The version stands before the body, whose form depends on it.
#[derive(Serialize)]
struct Envelope<'a> {
    format: &'static str,
    version: u64,
    checksum: String,
    body: &'a Value,
}

impl Failure {
    /// What is different from a plain run, and the digests that the run should have.
    pub fn options(&self) -> RunOptions {
        RunOptions {
            removed_ops: self.removed_ops.clone(),
            removed_faults: self.removed_faults.clone(),
            crash: self.crash.clone(),
            expected: Some(self.trail.clone()),
            ..RunOptions::default()
        }
    }

    /// The name of the file that [`Failure::write`] makes: scenario, seed, and the crash beside those of the scenario.
    pub fn file_name(&self) -> String {
        let crash = self.crash.as_ref().map_or(String::new(), |CrashPoint { node, moment, image }| {
            let image = Digest::of(format!("{image:?}").as_bytes()).0 & 0xffff;
            format!("-m{}-{moment}-{image:04x}", node + 1)
        });
        format!("{}-{}{crash}.json", self.scenario, self.seed)
    }

    /// Writes the failure into `folder`, which is made if need be, in one rename, and gives the file's path. An older
    /// failure of the same scenario and seed is replaced.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, FailureError> {
        let path = folder.join(self.file_name());
        let written = (|| {
            fs::create_dir_all(folder)?;
            let half = folder.join(format!(".{}.{}", self.file_name(), std::process::id()));
            let mut file = fs::File::create(&half)?;
            file.write_all(self.to_text().as_bytes())?;
            fs::rename(&half, &path)
        })();
        written.map_err(|error| FailureError::Io(path.clone(), error))?;
        Ok(path)
    }

    /// Reads a failure file and checks that it is whole.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(path: &Path) -> Result<Failure, FailureError> {
        let text = fs::read_to_string(path).map_err(|error| FailureError::Io(path.to_path_buf(), error))?;
        Failure::from_text(&text, path)
    }

    fn to_text(&self) -> String {
        let body = serde_json::to_value(self).expect("a failure is JSON");
        let envelope = Envelope { format: FORMAT, version: VERSION, checksum: checksum(&body), body: &body };
        let mut text = serde_json::to_string(&envelope).expect("a failure is JSON");
        text.push('\n');
        text
    }

    fn from_text(text: &str, path: &Path) -> Result<Failure, FailureError> {
        let unreadable = |error: serde_json::Error| FailureError::Unreadable(path.to_path_buf(), error.to_string());
        let mut envelope: Value = serde_json::from_str(text).map_err(unreadable)?;
        if envelope["format"] != FORMAT {
            return Err(FailureError::Foreign(path.to_path_buf()));
        }
        if envelope["version"] != VERSION {
            return Err(FailureError::Version(path.to_path_buf(), envelope["version"].to_string()));
        }
        let body = envelope["body"].take();
        if envelope["checksum"] != checksum(&body) {
            return Err(FailureError::Checksum(path.to_path_buf()));
        }
        serde_json::from_value(body).map_err(unreadable)
    }
}

/// Over the body as it is printed without spaces, keys in order, so that another layout of the same contents passes.
fn checksum(body: &Value) -> String {
    Digest::of(body.to_string().as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Failure {
        Failure {
            scenario: "swarm".to_string(),
            scenario_toml: "name = \"swarm\"\n".to_string(),
            seed: u64::MAX,
            removed_ops: BTreeSet::from([7]),
            removed_faults: BTreeSet::new(),
            crash: None,
            build: Build::this(),
            verdict: Ending {
                kind: Verdict::Safety,
                checker: "acknowledged-writes".to_string(),
                detail: "revision 7 is gone".to_string(),
                at_ns: 12,
            },
            digest: Digest(1).to_string(),
            events: 99,
            trail: DigestTrail { stride: 64, points: vec![(u64::MAX, 0)] },
        }
    }

    fn parse(text: &str) -> Result<Failure, FailureError> {
        Failure::from_text(text, Path::new("x.json"))
    }

    #[test]
    fn a_failure_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = failure().write(&folder.path().join("new/folder")).expect("it is written");
        assert_eq!(path.file_name().and_then(|name| name.to_str()), Some("swarm-18446744073709551615.json"));
        assert_eq!(Failure::read(&path).expect("it is whole"), failure());
    }

    #[test]
    fn another_layout_of_the_same_contents_is_the_same_failure() {
        let value: Value = serde_json::from_str(&failure().to_text()).expect("JSON");
        let pretty = serde_json::to_string_pretty(&value).expect("JSON");
        assert_eq!(parse(&pretty).expect("it is whole"), failure());
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let text = failure().to_text();
        let whole = text.trim_end().len();
        for length in 0..whole {
            assert!(matches!(parse(&text[..length]), Err(FailureError::Unreadable(..))), "cut at {length}");
        }
    }

    #[test]
    fn a_file_of_another_version_names_both_versions() {
        let text = failure().to_text().replace("\"version\":1,", "\"version\":2,");
        let line = parse(&text).expect_err("version 2 is not ours").to_string();
        assert!(line.contains("version 2") && line.contains("version 1"), "{line}");
    }

    #[test]
    fn a_changed_body_is_refused() {
        let text = failure().to_text().replace("revision 7", "revision 8");
        assert!(matches!(parse(&text), Err(FailureError::Checksum(..))));
        let text = failure().to_text().replace("\"seed\":18446744073709551615", "\"seed\":1");
        assert!(matches!(parse(&text), Err(FailureError::Checksum(..))));
    }

    #[test]
    fn other_json_is_no_failure_file() {
        assert!(matches!(parse("{\"format\":\"other\"}"), Err(FailureError::Foreign(..))));
        assert!(matches!(parse("[]"), Err(FailureError::Foreign(..))));
    }
}
