//! A put as the store takes it.

use crate::proto::etcdserverpb as pb;

/// What a put asks for. It stands where it came in: most are read from an entry and applied without a copy of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value that it gets.
    pub value: &'a [u8],
    /// The lease that it is to hang on; 0 for none.
    pub lease: i64,
    /// Whether the answer is to tell what was there before.
    pub prev_kv: bool,
    /// Whether the key keeps the value that it has.
    pub ignore_value: bool,
    /// Whether the key keeps the lease that it has.
    pub ignore_lease: bool,
}

impl<'a> From<&'a pb::PutRequest> for Put<'a> {
    fn from(request: &'a pb::PutRequest) -> Put<'a> {
        let pb::PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease } = request;
        let (lease, prev_kv, ignore_value, ignore_lease) = (*lease, *prev_kv, *ignore_value, *ignore_lease);
        Put { key, value, lease, prev_kv, ignore_value, ignore_lease }
    }
}
