//! What clients ask, from the words of a command.

use bytes::Bytes;
use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb as pb;

use crate::command::number;

/// The request that these words ask for.
///
/// # Errors
/// What is wrong with them.
pub fn request(words: &[String]) -> Result<Request, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let key = |word: &str| Bytes::from(word.to_owned());
    Ok(match words[..] {
        ["put", name, value] => put(key(name), bytes_of(value)?, 0),
        ["put", name, value, lease] => {
            let lease = lease.strip_prefix("lease=").ok_or("only lease=ID may follow")?;
            put(key(name), bytes_of(value)?, number(lease)?)
        }
        ["delete", name] => {
            Request::DeleteRange(pb::DeleteRangeRequest { key: key(name), ..pb::DeleteRangeRequest::default() })
        }
        ["get", name] => Request::Range(pb::RangeRequest { key: key(name), ..pb::RangeRequest::default() }),
        ["now", name] => {
            let serializable = true;
            Request::Range(pb::RangeRequest { key: key(name), serializable, ..pb::RangeRequest::default() })
        }
        ["grant", id, ttl] => Request::LeaseGrant(pb::LeaseGrantRequest { id: number(id)?, ttl: number(ttl)? }),
        ["revoke", id] => Request::LeaseRevoke(pb::LeaseRevokeRequest { id: number(id)? }),
        ["keepalive", id] => Request::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id: number(id)? }),
        ["ttl", id] => Request::LeaseTimeToLive(pb::LeaseTimeToLiveRequest { id: number(id)?, keys: true }),
        ["compact", revision] => {
            Request::Compact(pb::CompactionRequest { revision: number(revision)?, physical: false })
        }
        _ => return Err(format!("'{}' is no request; see the commands", words.join(" "))),
    })
}

fn put(key: Bytes, value: Bytes, lease: i64) -> Request {
    Request::Put(pb::PutRequest { key, value, lease, ..pb::PutRequest::default() })
}

/// A value as it is written, or `x*3000` for as many times `x`.
fn bytes_of(word: &str) -> Result<Bytes, String> {
    match word.split_once('*') {
        Some((unit, count)) => Ok(Bytes::from(unit.repeat(number(count)?))),
        None => Ok(Bytes::from(word.to_owned())),
    }
}

/// The request of a watcher of `key`, from a revision on; 0 for from now on.
pub fn watch(key: &str, from: i64) -> pb::WatchRequest {
    let create =
        pb::WatchCreateRequest { key: Bytes::from(key.to_owned()), start_revision: from, ..Default::default() };
    pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) }
}
