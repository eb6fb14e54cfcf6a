//! `lock` and `elect`. They take locks by keys, leases and watches, without the services for that, and have to see what
//! those see.

use std::time::{Duration, Instant};

use super::tool::{Etcdctl, PATIENCE, with_each};

/// The name of the lock or election of each test: its cluster is its own.
const NAME: &str = "n";

/// The keys of the lock or election, in order of their creation.
fn keys(etcdctl: &Etcdctl) -> Vec<String> {
    let said = etcdctl.says(&["get", "--prefix", "--keys-only", "--sort-by=CREATE", "n/"]);
    said.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Waits until so many keys are there.
fn wait_for(etcdctl: &Etcdctl, count: usize) {
    let begin = Instant::now();
    while keys(etcdctl).len() != count {
        assert!(begin.elapsed() < PATIENCE, "not {count} keys in time: {:?}", keys(etcdctl));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_command_runs_under_the_lock_and_knows_its_key() {
    with_each(|etcdctl| {
        let said = etcdctl.start(&[&etcdctl.at(1), "lock", NAME, "env"]).everything();
        let value = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).expect(name).to_owned();
        assert!(value("ETCD_LOCK_KEY=").starts_with(&format!("{NAME}/")), "{said:?}");
        assert!(value("ETCD_LOCK_REV=").parse::<i64>().is_ok_and(|revision| revision > 1), "{said:?}");
        assert_eq!(keys(etcdctl), [""; 0], "it is given back");
        let mut failing = etcdctl.start(&[&etcdctl.at(2), "lock", NAME, "false"]);
        assert!(!failing.ended().success());
        wait_for(etcdctl, 0);
    });
}

#[test]
fn a_lock_passes_to_the_next_when_its_owner_ends_or_dies() {
    with_each(|etcdctl| {
        let first = etcdctl.start(&[&etcdctl.at(0), "lock", NAME]);
        let key = first.line();
        assert_eq!(keys(etcdctl), [key.as_str()]);
        let second = etcdctl.start(&[&etcdctl.at(1), "lock", "--ttl=2", NAME]);
        wait_for(etcdctl, 2);
        let third = etcdctl.start(&[&etcdctl.at(2), "lock", "--ttl=60", NAME, "echo", "mine"]);
        wait_for(etcdctl, 3);
        second.is_silent();
        first.interrupt();
        let next = second.line();
        assert_ne!(next, key);
        third.is_silent();
        // Killed, so that its lease has to end by itself.
        drop(second);
        assert_eq!(third.everything(), "mine\n");
        wait_for(etcdctl, 0);
    });
}

#[test]
fn leaders_are_elected_one_after_the_other_and_listeners_hear_of_them() {
    with_each(|etcdctl| {
        let listener = etcdctl.start(&[&etcdctl.at(2), "elect", "--listen", NAME]);
        listener.is_silent();
        let first = etcdctl.start(&[&etcdctl.at(0), "elect", NAME, "one"]);
        let key = first.line();
        assert_eq!(first.line(), "one");
        assert_eq!(keys(etcdctl), [key.as_str()]);
        assert_eq!([listener.line(), listener.line()], [key.clone(), "one".to_owned()]);
        let second = etcdctl.start(&[&etcdctl.at(1), "elect", NAME, "two"]);
        wait_for(etcdctl, 2);
        second.is_silent();
        first.interrupt();
        let next = second.line();
        assert_eq!(second.line(), "two");
        assert_ne!(next, key);
        assert_eq!([listener.line(), listener.line()], [next, "two".to_owned()]);
        second.interrupt();
        wait_for(etcdctl, 0);
    });
}
