//! One raft-rs cluster on three hosts: detcd's own kernel, madsim and turmoil. The members, their load and the encoding
//! of their messages are the same; messages take 3 to 4 ms, of which turmoil draws most as 3 ms, as it counts in whole
//! milliseconds; each run has to commit as many entries on all members.
//!
//! `RUSTFLAGS="--cfg madsim" cargo bench -p detcd-sim --bench hosts`

#[cfg(madsim)]
mod compare;
#[cfg(madsim)]
mod kernel;
#[cfg(madsim)]
mod member;
#[cfg(madsim)]
mod on_madsim;
#[cfg(madsim)]
mod on_turmoil;

#[cfg(madsim)]
criterion::criterion_main!(compare::hosts);

#[cfg(not(madsim))]
fn main() {
    eprintln!("SKIPPED: madsim simulates only if it is built so:");
    eprintln!("RUSTFLAGS=\"--cfg madsim\" cargo bench -p detcd-sim --bench hosts");
}
