//! The write-ahead log as bytes: records, segments, durable marks, recovery. Knows no files.
//!
//! # Files
//!
//! * `member/wal/{seq:016x}-{index:016x}.wal`: the segments, in etcd's framing (contract, section 7), so that tools
//!   that read an etcd data directory can read ours. The second number is the first index that may begin in it.
//! * `member/wal/durable.marks`: two checksummed slots that say how far the log is known to be durable, which segment
//!   is the first that counts, how often the node was opened, and in which terms it may have acted.
//! * `member/wal/*.tmp`: files that are being prepared; they never count and are removed when the node is opened.
//!
//! # What the end of a log can tell
//!
//! Records are written in order, and several writes may be on their way at once, up to a number of bytes that each
//! mark names. A write counts as in flight until a sync that was issued after it completes; nothing is acknowledged
//! before that. When the machine dies, any of the sectors in flight may be lost, in any subset and order, each as a
//! whole; where they were to be there are zeros, because room is taken and zeroed before it is written to, and a tail
//! that is cut is zeroed and synced before anything goes there again. When only the process dies, what was written
//! stays; a write that was under way may have come to nothing, or up to some page.
//!
//! So of the first record that is not intact, behind all that is:
//!
//! * *A mark behind it* proves that it was durable: the mark was written after the sync. Whether the mark itself was
//!   synced does not matter, as long as it is whole. The node refuses to open.
//! * *Intact records behind it* prove that only if they are further away than all that may have been in flight.
//!   Nearer ones prove nothing: they may have been in flight beside it and been luckier. There have to be two, and
//!   the second has to continue the checksum of the first, as values may contain anything. The node refuses to open.
//! * *Nothing lost* proves that no crash did it: a record that a crash tore lacks at least one of the pieces into which
//!   sectors divide it, in that piece are only zeros, and the others are as they were written. So a flipped bit in a
//!   record of which every piece has something other than zeros is rot. It may have been acknowledged or not; the tail
//!   is cut, and the member is in repair ([`crate::consensus`]), or refuses if it cannot be repaired.
//! * *A lost piece* is what a crash leaves, and what is left is cut as never acknowledged.
//!
//! The last rule is where the knowledge ends. The bytes of a record that was acknowledged, and of which a disk later
//! gave back zeros for a whole sector, are the same as those of a record of which that sector never arrived. Between
//! the two lies the completion of a sync, which is known to memory alone until something is written about it, and
//! then that has to be durable too. So it cannot be told without a second sync before each acknowledgement. What can
//! be done cheaply is to write about it soon: at every tick in which the log became longer a mark is written without a
//! sync, and with one every ten ticks and every so many bytes. Beyond the reach of proof are then sectors that were
//! acknowledged and turned to zeros, if they were written in the last tick before the process died, or since the
//! newest mark that survived when the power went, some ten ticks at most. The same goes for records that hold a whole
//! sector of zeros by themselves: there a flipped bit elsewhere in the record passes for torn.
//!
//! Which terms a member may have acted in is known in spite of any loss: no hard state is written before a synced mark
//! allows its term, and no message of a term leaves before its hard state is durable.
//!
//! # Order of calls
//!
//! 1. [`Recovery::new`] with the listing; then [`Recovery::next_read`] and [`Recovery::feed`] until no read is left;
//!    then [`Recovery::finish`]. Nothing is written so far, whatever was found.
//! 2. The caller picks the newest of [`Recovered::marks`] for which it has a checkpoint and for which
//!    [`Recovered::continues_from`] holds, and takes [`Recovered::entries_after`] it.
//! 3. [`Writer::open`] with [`Recovered::start`] writes: if a rotten tail is cut it says so in a mark and syncs that;
//!    then it removes leftovers, zeroes what is behind the end, writes again what no mark proves durable (it may have
//!    been read from a cache, after a sync that failed), syncs that and counts the boot. The node serves once
//!    [`Writer::is_open`]; appends before that are kept.
//! 4. [`Writer::append`] as consensus wants, [`Writer::flush`] at the end of each step, and every `DiskDone` first to
//!    [`Writer::on_disk_done`]. [`Writer::retry_allocate`] on a timer.
//! 5. After a checkpoint is durable: [`Writer::append`] with its mark; when that write is durable and the checkpoint
//!    is the oldest that is kept, [`Writer::release_before`].
//! 6. [`Writer::stop`], then wait for [`Writer::is_stopped`].

mod marks;
mod payload;
mod record;
mod recover;
mod segment;
mod writer;

#[cfg(test)]
mod tests;

use crate::config::NodeConfig;
use crate::types::{ClusterId, NodeId};

pub use recover::{CutTail, Recovered, Recovery};
pub use writer::{Claim, Progress, WriteId, Writer, WriterStart};

/// The directory of the log, relative to the data directory.
pub const WAL_DIR: &str = "member/wal";

/// Every offset and size that torn writes are judged by is a multiple of this (contract, section 7).
const SECTOR_BYTES: u64 = 512;

/// No index, sequence number or offset that is read may be larger, so that counting on cannot overflow.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// What the log needs to know of a node's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalConfig {
    /// Whose log it is.
    pub node_id: NodeId,
    /// Of which cluster, if the log is yet to be created.
    pub cluster_id: ClusterId,
    /// Segments are allocated with this many bytes, rounded up to whole sectors.
    pub segment_bytes: u64,
    /// How many writes may be on their way to the disk at once; at least 1.
    pub writes_in_flight_max: usize,
    /// One write carries at most this many bytes, or one record.
    pub write_bytes_max: usize,
    /// No record is expected to be longer than this.
    pub record_bytes_max: u64,
    /// A durable mark is due when the log has become durable for this many bytes since the last one.
    pub mark_interval_bytes: u64,
    /// Recovery reads at most this many bytes at once.
    pub read_bytes_max: u64,
}

impl WalConfig {
    /// The part of a node's configuration that concerns its log.
    pub fn of(config: &NodeConfig) -> WalConfig {
        WalConfig {
            node_id: config.node_id,
            cluster_id: config.cluster_id,
            segment_bytes: config.wal_segment_bytes,
            writes_in_flight_max: config.wal_writes_in_flight_max.max(1),
            write_bytes_max: config.wal_write_bytes_max,
            record_bytes_max: config.request_bytes_max as u64 + (64 << 10),
            mark_interval_bytes: config.wal_mark_interval_bytes,
            read_bytes_max: 256 << 10,
        }
    }

    /// How many bytes at the end of the log may be written and not yet durable: what may be in flight, and one record.
    ///
    /// A damaged record with intact ones further behind it than this was durable once: no crash explains it.
    fn in_flight_bytes_max(&self) -> u64 {
        self.writes_in_flight_max as u64 * self.write_bytes_max as u64 + self.record_bytes_max
    }
}
