//! Three members in one loop: messages arrive in order, the disk is instant. Shows all that a driver has to do.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use detcd_core::api::{Request, read};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::types::{CallId, ClusterId, NodeId};
use detcd_core::{DiskAction, DiskReply, Effect, Input, Instant, Listing, Member, Node, NodeConfig, Outputs};

type Disk = BTreeMap<String, Vec<u8>>;

fn perform(disk: &mut Disk, action: DiskAction) -> DiskReply {
    match action {
        DiskAction::Allocate { file, size_bytes } => {
            let bytes = disk.entry(file.to_string()).or_default();
            bytes.resize(bytes.len().max(size_bytes as usize), 0);
        }
        DiskAction::Append { file, offset, bytes } => {
            disk.get_mut(&*file).expect("allocated before")[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        DiskAction::Read { file, offset, len } => {
            let bytes = &disk[&*file];
            let end = bytes.len().min((offset + len) as usize);
            return DiskReply::Data(Bytes::copy_from_slice(&bytes[end.min(offset as usize)..end]));
        }
        DiskAction::Rename { from, to } => {
            let bytes = disk.remove(&*from).expect("written before");
            disk.insert(to.to_string(), bytes);
        }
        DiskAction::Remove { file } => drop(disk.remove(&*file)),
        DiskAction::Sync { .. } | DiskAction::SyncDir { .. } => {}
    }
    DiskReply::Done
}

fn main() {
    let members: Vec<Member> = (1..=3)
        .map(|id| Member { id: NodeId(id), name: format!("m{id}"), peer_urls: vec![format!("http://m{id}:2380")] })
        .collect();
    let mut inbox: VecDeque<(usize, Input)> = VecDeque::new();
    let mut disks = vec![Disk::new(); 3];
    let mut nodes = Vec::new();
    let mut out = Outputs::default();
    let mut todo: Vec<(usize, Vec<Effect>)> = Vec::new();
    for at in 0..3 {
        let config = NodeConfig::with_etcd_defaults(ClusterId(7), members[at].id, members.clone(), 42);
        nodes.push(Node::open(config, Listing::default(), Instant::from_millis(0), &mut out));
        todo.push((at, std::mem::take(&mut out.effects)));
    }
    let put = pb::PutRequest { key: "greeting".into(), value: "hello".into(), ..Default::default() };
    let get = pb::RangeRequest { key: "greeting".into(), ..Default::default() };
    for now in (0..20_000).map(Instant::from_millis) {
        let deadline = Instant::from_millis(60_000);
        match now.as_millis() {
            5_000 => {
                inbox.push_back((0, Input::Call { call: CallId(1), deadline, request: Request::Put(put.clone()) }))
            }
            9_000 => {
                inbox.push_back((2, Input::Call { call: CallId(2), deadline, request: Request::Range(get.clone()) }))
            }
            _ => inbox.extend((0..3).filter(|at| nodes[*at].next_wakeup().at <= now).map(|at| (at, Input::Wakeup))),
        }
        loop {
            for (at, effects) in todo.drain(..) {
                for effect in effects {
                    match effect {
                        Effect::Send { to, frame, .. } => {
                            inbox.push_back((to.0 as usize - 1, Input::Peer { from: NodeId(at as u64 + 1), frame }));
                        }
                        Effect::Disk { op, action } => {
                            let result = Ok(perform(&mut disks[at], action));
                            inbox.push_back((at, Input::DiskDone { op, result }));
                        }
                        Effect::Reply { call, result } => println!("{now} member {}: {call} {result:?}", at + 1),
                        Effect::Read { call, request, view, header } => {
                            println!("{now} member {}: {call} {:?}", at + 1, read::execute(&view, &request, header));
                        }
                        other => println!("{now} member {}: {other:?}", at + 1),
                    }
                }
            }
            let Some((at, input)) = inbox.pop_front() else { break };
            nodes[at].step(now, input, &mut out);
            out.notes.clear();
            todo.push((at, std::mem::take(&mut out.effects)));
        }
    }
    println!("{:?}", nodes[0].status());
}
