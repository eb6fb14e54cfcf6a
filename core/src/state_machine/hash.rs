//! Hashes that members compare to find out that they differ (contract, section 1.5).

use bytes::Bytes;
use prost::Message;

use super::mvcc::{Mvcc, ReadAt};
use super::record::{Position, Record};
use super::store::Store;
use crate::api::Status;
use crate::proto::mvccpb;
use crate::types::Revision;

/// The name of what etcd keeps keys in; its hash begins with it.
const KEYS: &[u8] = b"key";

/// etcd's `HashKV`: the CRC-32C of the records up to `revision`, the current one if that is 0, in order, each as
/// etcd stores it. What the sweep of a compaction has still to remove does not count. Gives the revision with
/// it. Takes a time in proportion to the history.
///
/// # Errors
/// The revision is compacted, or does not exist yet.
pub(crate) fn hash_kv(mvcc: &Mvcc, revision: Revision) -> Result<(u32, Revision), Status> {
    if revision > 0 && revision < mvcc.compacted() {
        return Err(Status::Compacted);
    }
    if revision > mvcc.revision() {
        return Err(Status::FutureRevision);
    }
    // At a negative one there is nothing.
    let revision = if revision == 0 { mvcc.revision() } else { revision };
    let mut crc = crc32c::crc32c(KEYS);
    let mut stored = Vec::new();
    for record in mvcc.records_after(None).take_while(|record| record.at().revision <= revision) {
        if counts(mvcc, record, revision) {
            stored.clear();
            store_record(record, &mut stored);
            crc = crc32c::crc32c_append(crc, &stored);
        }
    }
    Ok((crc, revision))
}

/// Whether a record counts: all that the compaction left alone do, and of the older ones those that their keys still
/// are at `revision`. A compaction keeps these, and more; but only these are what etcd counts, unless there are none,
/// when it counts whatever its sweep has left; that is not copied.
fn counts(mvcc: &Mvcc, record: &Record, revision: Revision) -> bool {
    record.at().revision > mvcc.compacted()
        || mvcc.get(record.key(), ReadAt::Revision(revision)).is_some_and(|newest| newest.at() == record.at())
}

/// Key and value of a record in etcd's database.
fn store_record(record: &Record, out: &mut Vec<u8>) {
    let Position { revision, sub } = record.at();
    out.extend_from_slice(&revision.to_be_bytes());
    out.push(b'_');
    out.extend_from_slice(&i64::from(sub).to_be_bytes());
    let stored = if record.is_tombstone() {
        out.push(b't');
        mvccpb::KeyValue { key: Bytes::copy_from_slice(record.key()), ..Default::default() }
    } else {
        record.to_key_value()
    };
    stored.encode(out).expect("a vector has room");
}

/// A hash of everything that members have in common: of the whole state but for how many entries made it, since an
/// entry may do nothing. O(1).
pub(crate) fn hash(store: &Store) -> u32 {
    let contents = store.mvcc.digest().with(store.leases.digest());
    let contents = contents.with(store.alarms.digest()).with(store.members.digest());
    crc32c::crc32c(&contents.0.to_le_bytes())
}
