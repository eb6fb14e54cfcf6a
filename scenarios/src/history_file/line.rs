//! One line of a history as JSON and back.

use detcd_core::api::{Code, Status};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::mvccpb;
use detcd_sim::check::Witness;
use detcd_sim::history::{ClientId, HistoryEvent, OpId, Outcome, WatcherId};
use serde_json::{Map, Value, json};

use super::json::{Json, Wrong, fields, unknown_field};
use super::messages::{request_from_json, request_to_json, response_from_json, response_to_json};
use super::{FORMAT, Header, Line, VERSION, What};

pub(super) fn header_to_json(header: &Header) -> Value {
    let Header { members, witness, txn_ops_max, clock_skew_ppm_max, clock_steps } = header;
    let witness = match witness {
        Witness::Live => "live",
        Witness::Recorded => "recorded",
    };
    json!({
        "format": FORMAT, "version": VERSION, "members": members, "witness": witness,
        "max_txn_ops": txn_ops_max, "clock_skew_ppm": clock_skew_ppm_max, "clock_steps_ns": clock_steps,
    })
}

pub(super) fn header_from_json(value: &Value) -> Result<Header, Wrong> {
    let begin = || format!("the first line of a history is {{\"format\": \"{FORMAT}\", \"version\": {VERSION}, ...}}");
    if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
        return Err(Wrong::new(begin()));
    }
    let version = value.get("version").unwrap_or(&Value::Null);
    if *version != VERSION {
        let what = format!("a history of format version {version}; this build reads version {VERSION}");
        return Err(Wrong::new(what));
    }
    let mut taken = Fields::of(value)?;
    taken.skip("format");
    taken.skip("version");
    let members: Vec<u64> = taken.need("members")?;
    if members.is_empty() {
        return Err(Wrong::new("the ids of the cluster's members, at least one").inside("members"));
    }
    let witness = match taken.optional::<String>("witness")?.as_deref() {
        None | Some("recorded") => Witness::Recorded,
        Some("live") => Witness::Live,
        Some(_) => return Err(Wrong::new("a witness is \"recorded\" or \"live\"").inside("witness")),
    };
    let txn_ops_max = taken.optional::<u64>("max_txn_ops")?.unwrap_or(128);
    let clock_skew_ppm_max = taken.optional::<u64>("clock_skew_ppm")?.unwrap_or(1_000);
    if clock_skew_ppm_max >= 1_000_000 {
        return Err(Wrong::new("a clock that is off by less than 1000000 parts in a million").inside("clock_skew_ppm"));
    }
    let clock_steps = taken.optional("clock_steps_ns")?.unwrap_or(0);
    taken.end()?;
    let txn_ops_max = usize::try_from(txn_ops_max).map_err(|_| Wrong::new("it is too large").inside("max_txn_ops"))?;
    Ok(Header { members, witness, txn_ops_max, clock_skew_ppm_max, clock_steps })
}

pub(super) fn to_json(line: &Line) -> Value {
    let mut value = match &line.what {
        What::Died(member) => json!({ "event": "died", "member": member }),
        What::History(event) => event_to_json(event),
    };
    value["at_ns"] = Value::from(line.at);
    value
}

fn event_to_json(event: &HistoryEvent) -> Value {
    match event {
        HistoryEvent::Invoke { op, client, request } => {
            json!({ "event": "invoke", "op": op.0, "client": client.0, "request": request_to_json(request) })
        }
        HistoryEvent::Return { op, outcome } => {
            let (how, what) = match outcome {
                Outcome::Ok(response) => ("response", response_to_json(response)),
                Outcome::Failed(status) => ("refused", Value::from(status.message())),
                Outcome::Unknown => ("unknown", Value::from(true)),
            };
            json!({ "event": "return", "op": op.0, how: what })
        }
        HistoryEvent::WatchOpen { watcher, client, request } => {
            json!({ "event": "watch", "watcher": watcher.0, "client": client.0, "request": request.to_json() })
        }
        HistoryEvent::WatchReceive { watcher, response } => {
            json!({ "event": "receive", "watcher": watcher.0, "response": response.to_json() })
        }
        HistoryEvent::WatchEnd { watcher } => json!({ "event": "watch-end", "watcher": watcher.0 }),
        HistoryEvent::Revision { revision, events } => {
            let events: Vec<Value> = events.iter().map(Json::to_json).collect();
            json!({ "event": "revision", "revision": revision, "events": events })
        }
        HistoryEvent::Compaction { revision } => json!({ "event": "compaction", "revision": revision }),
    }
}

/// The kinds of lines, as the field `event` names them.
const EVENTS: &str = "invoke, return, watch, receive, watch-end, revision, compaction, died";

pub(super) fn from_json(value: &Value) -> Result<Line, Wrong> {
    let mut taken = Fields::of(value)?;
    let at = taken.need("at_ns")?;
    let event: String = taken.need("event")?;
    let what = match event.as_str() {
        "died" => What::Died(taken.need("member")?),
        "invoke" => What::History(HistoryEvent::Invoke {
            op: OpId(taken.need("op")?),
            client: taken.client()?,
            request: taken.with("request", request_from_json)?,
        }),
        "return" => What::History(HistoryEvent::Return { op: OpId(taken.need("op")?), outcome: taken.outcome()? }),
        "watch" => What::History(HistoryEvent::WatchOpen {
            watcher: WatcherId(taken.need("watcher")?),
            client: taken.client()?,
            request: taken.need::<pb::WatchCreateRequest>("request")?,
        }),
        "receive" => What::History(HistoryEvent::WatchReceive {
            watcher: WatcherId(taken.need("watcher")?),
            response: taken.need::<pb::WatchResponse>("response")?,
        }),
        "watch-end" => What::History(HistoryEvent::WatchEnd { watcher: WatcherId(taken.need("watcher")?) }),
        "compaction" => What::History(HistoryEvent::Compaction { revision: taken.need("revision")? }),
        "revision" => What::History(HistoryEvent::Revision {
            revision: taken.need("revision")?,
            events: taken.need::<Vec<mvccpb::Event>>("events")?.into(),
        }),
        _ => return Err(Wrong::new(format!("there is no '{event}'; there are {EVENTS}")).inside("event")),
    };
    taken.end()?;
    Ok(Line { at, what })
}

/// The fields of a line, taken one by one; in the end none may be left.
struct Fields<'a> {
    fields: &'a Map<String, Value>,
    taken: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    fn of(value: &'a Value) -> Result<Fields<'a>, Wrong> {
        Ok(Fields { fields: fields(value)?, taken: Vec::new() })
    }

    fn skip(&mut self, name: &'static str) -> Option<&'a Value> {
        self.taken.push(name);
        self.fields.get(name)
    }

    fn optional<T: Json>(&mut self, name: &'static str) -> Result<Option<T>, Wrong> {
        self.skip(name).map(|value| T::from_json(value).map_err(|wrong| wrong.inside(name))).transpose()
    }

    fn need<T: Json>(&mut self, name: &'static str) -> Result<T, Wrong> {
        self.with(name, T::from_json)
    }

    fn with<T>(&mut self, name: &'static str, take: impl Fn(&Value) -> Result<T, Wrong>) -> Result<T, Wrong> {
        let value = self.skip(name).ok_or_else(|| Wrong::new(format!("the field '{name}' is missing")))?;
        take(value).map_err(|wrong| wrong.inside(name))
    }

    fn client(&mut self) -> Result<ClientId, Wrong> {
        let number: u64 = self.need("client")?;
        let number = u32::try_from(number).map_err(|_| Wrong::new("a number of 32 bits").inside("client"))?;
        Ok(ClientId(number))
    }

    fn outcome(&mut self) -> Result<Outcome, Wrong> {
        let response = self.skip("response");
        let refused = self.optional::<String>("refused")?;
        let error = self.optional::<String>("error")?;
        let unknown = self.optional::<bool>("unknown")?;
        match (response, refused, error, unknown) {
            (Some(response), None, None, None) => {
                response_from_json(response).map(Outcome::Ok).map_err(|wrong| wrong.inside("response"))
            }
            (None, Some(text), None, None) => status(&text).map(Outcome::Failed).ok_or_else(|| {
                let what = format!("\"{text}\" is no text of etcd's for a refusal; an \"error\" may be any text");
                Wrong::new(what).inside("refused")
            }),
            (None, None, Some(text), None) => Ok(outcome_of_error(&text)),
            (None, None, None, Some(true)) => Ok(Outcome::Unknown),
            _ => Err(Wrong::new(
                "an operation returns with exactly one of \"response\", \"refused\", \"error\" and \"unknown\": true",
            )),
        }
    }

    fn end(self) -> Result<(), Wrong> {
        let more = self.fields.keys().find(|name| !self.taken.contains(&name.as_str()));
        more.map_or(Ok(()), |name| Err(unknown_field(name, &self.taken)))
    }
}

fn status(text: &str) -> Option<Status> {
    Status::ALL.iter().copied().find(|status| status.message() == text)
}

/// What an error with this text says of the operation that got it. It claims that nothing was done only if it is a
/// refusal of etcd's with a code that says so. Whatever has to do with availability may hide a write that happens yet.
pub fn outcome_of_error(text: &str) -> Outcome {
    match status(text) {
        Some(status) if !matches!(status.code(), Code::Unavailable | Code::Unknown) => Outcome::Failed(status),
        _ => Outcome::Unknown,
    }
}
