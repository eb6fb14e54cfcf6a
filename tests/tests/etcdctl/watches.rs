//! `watch`, with its flags, a command for each event, and many watchers of one process.

use super::tool::{Etcdctl, with_each};

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
fn put_until_heard(etcdctl: &Etcdctl, running: &super::tool::Running, key: &str) {
    let heard = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !heard.load(std::sync::atomic::Ordering::Relaxed) {
                etcdctl.says(&["put", key, "v"]);
            }
        });
        running.prints(&["PUT", key, "v"]);
        heard.store(true, std::sync::atomic::Ordering::Relaxed);
    });
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
        let begin = std::time::Instant::now();
        let progress = loop {
            let line = watch.line();
            if let Some(revision) = line.strip_prefix("progress notify: ") {
                break revision.parse::<i64>().expect("a revision");
            }
            assert!(begin.elapsed() < super::tool::PATIENCE, "no progress is told");
        };
        let fields = etcdctl.says(&["get", "two", "--write-out=fields"]);
        assert!(fields.contains(&format!("\"Revision\" : {progress}\n")), "{progress}: {fields}");
    });
}

/// It is told in the member's own time, which is long by default.
#[test]
fn a_watcher_may_ask_to_be_told_of_progress() {
    with_each(|etcdctl| {
        if !etcdctl.is_at_least(5) {
            return; // 3.4 has no such flag.
        }
        let watch = etcdctl.start(&["watch", "--progress-notify", "--rev=2", "k"]);
        etcdctl.says(&["put", "k", "v"]);
        watch.prints(&["PUT", "k", "v"]);
        watch.is_silent();
    });
}
