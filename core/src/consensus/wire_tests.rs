use proptest::prelude::*;

use super::*;

fn entry() -> impl Strategy<Value = eraftpb::Entry> {
    let data = prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 0..300)];
    (0..3i32, any::<u64>(), any::<u64>(), data, prop::collection::vec(any::<u8>(), 0..4)).prop_map(
        |(entry_type, term, index, data, context)| eraftpb::Entry {
            entry_type,
            term,
            index,
            data,
            context,
            sync_log: false,
        },
    )
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..300u64, any::<u64>()]
}

fn message() -> impl Strategy<Value = eraftpb::Message> {
    let conf_state = eraftpb::ConfState { voters: vec![1, 2, 300], ..Default::default() };
    let metadata = eraftpb::SnapshotMetadata { conf_state: Some(conf_state), index: 20, term: 4 };
    let snapshot = eraftpb::Snapshot { data: vec![1, 2], metadata: Some(metadata) };
    let numbers = prop::array::uniform10(number());
    let rest =
        (any::<bool>(), any::<i64>(), prop::option::of(Just(snapshot)), prop::collection::vec(any::<u8>(), 0..20));
    (0..19i32, numbers, prop::collection::vec(entry(), 0..6), rest).prop_map(
        |(msg_type, numbers, entries, (reject, priority, snapshot, context))| {
            let [to, from, term, log_term, index, commit, commit_term, request_snapshot, reject_hint, old] = numbers;
            eraftpb::Message {
                msg_type,
                to,
                from,
                term,
                log_term,
                index,
                entries,
                commit,
                commit_term,
                snapshot,
                request_snapshot,
                reject,
                reject_hint,
                context,
                deprecated_priority: old,
                priority,
            }
        },
    )
}

/// The message that [`decode`] took apart, as one again.
fn whole(mut received: Received<'_>) -> eraftpb::Message {
    let mut payloads = received.payloads.drain(..);
    for entry in received.message.entries.iter_mut().filter(|entry| is_elsewhere(entry)) {
        let payload = payloads.next().expect("one for each mark");
        assert_eq!((payload.term.0, payload.index.0), (entry.term, entry.index));
        assert!(entry.data.is_empty() && entry.entry_type == 0);
        (entry.data, entry.sync_log) = (payload.data.to_vec(), false);
    }
    assert_eq!(payloads.next(), None);
    drop(payloads);
    received.message
}

/// As [`whole`], for what another implementation decoded: the mark means nothing in a message.
fn unmarked(mut message: eraftpb::Message) -> eraftpb::Message {
    message.entries.iter_mut().for_each(|entry| entry.sync_log = false);
    message
}

/// A field of an entry as it may stand on the wire: any of those that are known, or one that is not.
fn entry_field() -> impl Strategy<Value = Vec<u8>> {
    let number = (prop::sample::select(vec![1u8, 2, 3, 5, 9]), number()).prop_map(|(tag, value)| {
        let mut field = vec![tag << 3];
        prost::encoding::encode_varint(value, &mut field);
        field
    });
    let bytes = (prop::sample::select(vec![4u8, 6, 9]), prop::collection::vec(any::<u8>(), 0..9));
    let bytes = bytes.prop_map(|(tag, value)| [&[tag << 3 | 2, value.len() as u8], &value[..]].concat());
    prop_oneof![number, bytes]
}

proptest! {
    #[test]
    fn fields_of_an_entry_in_any_order_and_number_read_as_others_read_them(
        fields in prop::collection::vec(entry_field(), 0..9),
    ) {
        let entry = fields.concat();
        let bytes = [&[7 << 3 | 2, entry.len() as u8], &entry[..]].concat();
        let theirs = eraftpb::Message::decode(&bytes[..]).ok().map(unmarked);
        prop_assert!(theirs.is_some());
        prop_assert_eq!(decode(&bytes).ok().map(whole), theirs);
    }

    #[test]
    fn what_is_written_reads_as_any_other_implementation_reads_it(message in message()) {
        let mut bytes = Vec::new();
        let (head, tail) = encode_around(&message);
        bytes.extend_from_slice(head.bytes());
        message.entries.iter().for_each(|entry| encode_entry(entry, &entry.data, &mut bytes));
        bytes.extend_from_slice(&tail);
        prop_assert_eq!(&eraftpb::Message::decode(&bytes[..]).unwrap(), &message);
        prop_assert_eq!(&whole(decode(&bytes).unwrap()), &message);
    }

    #[test]
    fn what_others_write_reads_the_same(message in message()) {
        let bytes = message.encode_to_vec();
        prop_assert_eq!(whole(decode(&bytes).unwrap()), message);
    }

    #[test]
    fn spoilt_bytes_read_as_others_read_them(
        message in message(),
        spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = message.encode_to_vec();
        prop_assume!(!bytes.is_empty());
        for (place, byte) in spoil {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let theirs = eraftpb::Message::decode(&bytes[..]).ok().map(unmarked);
        prop_assert_eq!(decode(&bytes).ok().map(whole), theirs);
    }
}
