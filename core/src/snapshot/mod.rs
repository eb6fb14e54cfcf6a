//! Checkpoints: the whole state as bytes, in chunks that check themselves.
//!
//! ```text
//! chunk   := length u32 | number u64 | payload | crc32c u32      length of the payload; all numbers little-endian
//! payload := kind u8 | body                                      the checksum covers everything before it
//! kinds   := 1 header, once, first | 2 leases | 3 records | 4 trailer, once, last
//! ```
//!
//! Sections come in this order, each sorted, so that equal states give equal bytes. The trailer holds the totals and
//! the state's digest. A snapshot replaces what was there; nothing is ever merged with it (zoo, row 47).

mod codec;
mod file_name;
mod load;
mod write;

use std::fmt;

pub use file_name::{checkpoint_name, parse_checkpoint_name};
pub use load::{SnapshotHeader, SnapshotLoader, read_header};
pub use write::SnapshotWriter;

pub use crate::log::SnapshotMeta;

/// A payload may be this long. Records are far shorter; this only bounds what a damaged length can ask for.
const PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// Length and number before the payload.
const CHUNK_HEAD_BYTES: usize = 12;

/// The checksum after the payload.
const CHUNK_TAIL_BYTES: usize = 4;

/// What the header begins with: names the format and its version.
const MAGIC: &[u8; 8] = b"detcdck3";

/// What a chunk contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ChunkKind {
    Header = 1,
    Leases = 2,
    Records = 3,
    Trailer = 4,
}

/// Why some bytes are no snapshot. Nothing was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotError {
    /// They end before the trailer does.
    Incomplete,
    /// They begin like no snapshot of this version.
    NotASnapshot,
    /// A chunk is damaged.
    Damaged {
        /// Its number, from 0.
        chunk: u64,
        /// Where it begins, in bytes from the start.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// All chunks are whole, but they do not add up to the state that was written.
    Inconsistent {
        /// What does not fit.
        what: &'static str,
    },
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotError::Incomplete => f.write_str("the snapshot is incomplete"),
            SnapshotError::NotASnapshot => f.write_str("this is no snapshot of a version that is known here"),
            SnapshotError::Damaged { chunk, offset, what } => {
                write!(f, "the snapshot is damaged in chunk {chunk} at offset {offset}: {what}")
            }
            SnapshotError::Inconsistent { what } => write!(f, "the snapshot contradicts itself: {what}"),
        }
    }
}

impl std::error::Error for SnapshotError {}
