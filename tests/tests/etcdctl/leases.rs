//! `lease`, with its subcommands.

use super::tool::{Etcdctl, wait_until, with_each};

fn grant(etcdctl: &Etcdctl, ttl: &str) -> String {
    let said = etcdctl.says(&["lease", "grant", &etcdctl.at(0), ttl]);
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!((words[0], words[2]), ("lease", "granted"), "{said}");
    assert_eq!(words[3..], ["with", &format!("TTL({ttl}s)")], "{said}");
    words[1].to_owned()
}

#[test]
fn leases_are_granted_kept_alive_revoked_and_expire() {
    with_each(|etcdctl| {
        let lease = grant(etcdctl, "60");
        assert_eq!(etcdctl.says(&["put", &format!("--lease={lease}"), "l", "x"]), "OK\n");
        let said = etcdctl.says(&["lease", "timetolive", "--keys", &lease]);
        assert!(said.starts_with(&format!("lease {lease} granted with TTL(60s), remaining(")), "{said}");
        assert!(said.contains("attached keys([l])"), "{said}");
        let said = etcdctl.says(&["lease", "list", &etcdctl.at(0)]);
        assert_eq!(said, format!("found 1 leases\n{lease}\n"));
        let said = etcdctl.says(&["lease", "keep-alive", "--once", &lease]);
        assert_eq!(said, format!("lease {lease} keepalived with TTL(60)\n"));
        assert_eq!(etcdctl.says(&["lease", "revoke", &lease]), format!("lease {lease} revoked\n"));
        assert_eq!(etcdctl.says(&["get", "l"]), "");
        assert_eq!(etcdctl.says(&["lease", "timetolive", &lease]), format!("lease {lease} already expired\n"));
        let refusal = etcdctl.refuses(&["lease", "revoke", &lease]);
        assert!(refusal.contains("etcdserver: requested lease not found"), "{refusal}");
        let short = grant(etcdctl, "5");
        etcdctl.says(&["put", &format!("--lease={short}"), "l", "x"]);
        wait_until("the lease has ended with its key", || {
            let said = etcdctl.says(&["get", "l"]);
            said.is_empty().then_some(()).ok_or(said)
        });
    });
}

/// It asks again after a third of the time.
#[test]
fn a_lease_is_kept_alive_until_it_is_revoked() {
    with_each(|etcdctl| {
        let lease = grant(etcdctl, "3");
        let keeper = etcdctl.start(&["lease", "keep-alive", &lease]);
        let kept = format!("lease {lease} keepalived with TTL(3)");
        for _ in 0..4 {
            assert_eq!(keeper.line(), kept);
        }
        etcdctl.says(&["lease", "revoke", &lease]);
        loop {
            let line = keeper.line();
            if line == format!("lease {lease} expired or revoked.") {
                break;
            }
            assert_eq!(line, kept);
        }
    });
}
