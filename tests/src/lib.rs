//! What crosses the crates of detcd.
