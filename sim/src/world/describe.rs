//! Words for what happens, for traces and verdicts.

use detcd_core::api::{Request, Response, Status};
use detcd_core::watch::WatchMessage;
use detcd_core::{DiskAction, Input, StreamOp};

use crate::history::Outcome;

/// An action on the disk.
pub(super) fn action(action: &DiskAction) -> String {
    match action {
        DiskAction::Allocate { file, size_bytes } => format!("allocate {file} to {size_bytes}"),
        DiskAction::Append { file, offset, bytes } => format!("write {} bytes to {file} at {offset}", bytes.len()),
        DiskAction::Read { file, offset, len } => format!("read {len} bytes of {file} at {offset}"),
        DiskAction::Rename { from, to } => format!("rename {from} to {to}"),
        DiskAction::Remove { file } => format!("remove {file}"),
        DiskAction::Sync { file } => format!("sync {file}"),
        DiskAction::SyncDir { dir } => format!("sync directory {dir:?}"),
    }
}

/// An answer to a client.
pub(super) fn answer(answer: &Result<Response, Status>) -> String {
    match answer {
        Ok(response) => shorten(format!("{response:?}")),
        Err(status) => format!("{status:?}"),
    }
}

/// How an operation ended.
pub(super) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok(response) => shorten(format!("{response:?}")),
        Outcome::Failed(status) => format!("failed, {status:?}"),
        Outcome::Unknown => "nobody knows".into(),
    }
}

/// A client's request.
pub(super) fn request(request: &Request) -> String {
    shorten(format!("{request:?}"))
}

/// A batch of watch responses.
pub(super) fn batch(batch: &[WatchMessage]) -> String {
    let events: usize = batch.iter().map(|message| message.events().len()).sum();
    let revision = batch.iter().flat_map(|message| &message.head().header).map(|header| header.revision).max();
    format!("{} responses with {events} events up to revision {}", batch.len(), revision.unwrap_or(0))
}

/// An input of a node.
pub(super) fn input(input: &Input) -> String {
    match input {
        Input::Wakeup => "wakes up".into(),
        Input::Peer { from, frame } => format!("gets {} bytes from m{from}", frame.len()),
        Input::Link { peer, up: true } => format!("link to m{peer} is up"),
        Input::Link { peer, up: false } => format!("link to m{peer} is down"),
        Input::Call { call, request: asked, .. } => format!("gets call {call}: {}", request(asked)),
        Input::Cancel { call } => format!("call {call} is cancelled"),
        Input::Stream { stream, op: StreamOp::Open } => format!("stream {stream} opens"),
        Input::Stream { stream, op: StreamOp::Request(asked) } => {
            format!("stream {stream} asks {}", shorten(format!("{asked:?}")))
        }
        Input::Stream { stream, op: StreamOp::Credit(bytes) } => format!("stream {stream} takes {bytes} bytes more"),
        Input::Stream { stream, op: StreamOp::Close } => format!("stream {stream} closes"),
        Input::DiskDone { op, result: Ok(_) } => format!("disk {op} is done"),
        Input::DiskDone { op, result: Err(error) } => format!("disk {op} failed: {error:?}"),
        Input::Stop => "is asked to stop".into(),
    }
}

/// Debug forms of messages are long and full of defaults.
fn shorten(text: String) -> String {
    let text = text.replace(", ..Default::default()", "");
    match text.char_indices().nth(240) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// What a panic said.
pub(super) fn panic(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_string());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_else(|| "something that is no text".into());
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
