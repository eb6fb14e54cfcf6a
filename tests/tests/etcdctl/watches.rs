//! `watch`, with its flags, a command for each event, and many watchers of one process.

use std::time::{Duration, Instant};

use super::tool::{Etcdctl, PATIENCE, Running, with_each, with_each_and_flags};

#[test]
fn a_watcher_is_told_of_old_and_new_events() {
    with_each(|etcdctl| {
        etcdctl.says(&["put", "w/1", "old"]);
        let watch = etcdctl.start(&["watch", "--prefix", "--rev=1", "w/"]);
        etcdctl.says(&["put", "w/2", "new"]);
        etcdctl.says(&["del", "w/1"]);
        etcdctl.says(&["put", "elsewhere", "x"]);
        etcdctl.says(&["put", "w/3", "last"]);
        watch.prints(&["PUT", "w/1", "old", "PUT", "w/2", "new", "DELETE", "w/1", "", "PUT", "w/3", "last"]);
        watch.is_silent();
    });
}

#[test]
fn a_watcher_of_a_range_is_told_former_values_too() {
    with_each(|etcdctl| {
        etcdctl.says(&["put", "b", "1"]);
        let watch = etcdctl.start(&["watch", "--prev-kv", "--rev=3", "a", "c"]);
        etcdctl.says(&["put", "b", "2"]);
        etcdctl.says(&["put", "c", "beyond"]);
        etcdctl.says(&["del", "b"]);
        watch.prints(&["PUT", "b", "1", "b", "2", "DELETE", "b", "2", "b", ""]);
        watch.is_silent();
    });
}

#[test]
fn a_compacted_past_cannot_be_watched() {
    with_each(|etcdctl| {
        for value in ["1", "2", "3"] {
            etcdctl.says(&["put", "k", value]);
        }
        etcdctl.says(&["compaction", "3"]);
        let refusal = etcdctl.refuses(&["watch", "--rev=2", "k"]);
        assert!(refusal.contains("etcdserver: mvcc: required revision has been compacted"), "{refusal}");
    });
}

/// The command knows the event by its environment.
#[test]
fn a_command_runs_for_each_event() {
    with_each(|etcdctl| {
        let script = "echo $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE $ETCD_WATCH_REVISION";
        let watch = etcdctl.start(&["watch", "--rev=2", "k", "--", "sh", "-c", script]);
        etcdctl.says(&["put", "k", "v"]);
        etcdctl.says(&["del", "k"]);
        watch.prints(&["PUT", "k", "v", "\"PUT\" \"k\" \"v\" 2", "DELETE", "k", "", "\"DELETE\" \"k\" \"\" 3"]);
    });
}

/// Puts until an etcdctl that was told to watch has heard of one.
fn put_until_heard(etcdctl: &Etcdctl, running: &Running, key: &str) {
    let begin = Instant::now();
    let first = loop {
        etcdctl.says(&["put", key, "v"]);
        if let Some(line) = running.line_within(Duration::from_millis(100)) {
            break line;
        }
        assert!(begin.elapsed() < PATIENCE, "it hears of nothing");
    };
    assert_eq!(first, "PUT");
    running.prints(&[key, "v"]);
}

#[test]
fn many_watchers_and_progress_are_asked_for_in_words() {
    with_each(|etcdctl| {
        etcdctl.says(&["put", "one", "past"]);
        let mut watch = etcdctl.start(&["watch", "--interactive"]);
        watch.tell("watch --rev=2 one\n");
        watch.prints(&["PUT", "one", "past"]);
        watch.tell("watch --prefix t\n");
        put_until_heard(etcdctl, &watch, "two");
        watch.tell("progress\n");
        let begin = Instant::now();
        let progress = loop {
            let line = watch.line();
            if let Some(revision) = line.strip_prefix("progress notify: ") {
                break revision.parse::<i64>().expect("a revision");
            }
            assert!(begin.elapsed() < PATIENCE, "no progress is told");
        };
        let fields = etcdctl.says(&["get", "two", "--write-out=fields"]);
        assert!(fields.contains(&format!("\"Revision\" : {progress}\n")), "{progress}: {fields}");
    });
}

#[test]
fn a_watcher_may_ask_to_be_told_of_progress() {
    with_each_and_flags(&["--watch-progress-notify-interval=300ms"], |etcdctl| {
        if !etcdctl.is_at_least(5) {
            eprintln!("SKIPPED: etcdctl 3.4 has no --progress-notify; with it this test proved nothing");
            return;
        }
        let watch = etcdctl.start(&["watch", "--progress-notify", "--rev=2", "k"]);
        etcdctl.says(&["put", "k", "v"]);
        watch.prints(&["PUT", "k", "v", "progress notify: 2"]);
    });
}
