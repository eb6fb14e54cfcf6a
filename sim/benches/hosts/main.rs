//! One raft-rs cluster on three hosts: detcd's own kernel, madsim and turmoil. The members, their load, the encoding of
//! their messages and the time that those travel are the same; each run has to commit the same entries on all members.
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
