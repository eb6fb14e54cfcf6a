//! The second host: the shim's own loop around the core, under madsim instead of threads and a real machine. Three
//! members are killed, restarted, paused and cut off, packets are lost, and the simulator's checkers judge what was
//! seen.
//!
//! madsim simulates only in a build with `--cfg madsim`: `.ci/run madsim`. `DETCD_MADSIM_SEEDS=N` makes it N seeds.

#[cfg(madsim)]
mod body;
#[cfg(madsim)]
mod client;
#[cfg(madsim)]
mod lies;
#[cfg(madsim)]
mod member;
#[cfg(madsim)]
mod nemesis;
#[cfg(madsim)]
mod record;
#[cfg(madsim)]
mod run;
#[cfg(madsim)]
mod runs;

/// What a build without madsim can check of it: that there is a command that does not leave it out.
#[cfg(not(madsim))]
#[test]
fn without_madsim_in_the_build_the_gate_has_a_section_for_it() {
    use std::io::Write;

    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let gate = std::fs::read_to_string(root.join(".ci/run")).expect("the gate is a file");
    let sections = gate.lines().find(|line| line.starts_with("all=(")).expect("the gate lists its sections");
    assert!(sections.contains(" madsim "), "the gate has a section madsim");
    assert!(gate.contains("--cfg madsim"), "which builds with madsim");
    // Past the test harness, which keeps the words of tests that pass.
    let told = writeln!(std::io::stderr(), "SKIPPED: the members under madsim; run them with `.ci/run madsim`");
    told.expect("standard error takes a line");
}
