//! `txn`, from a pipe and with its questions.

use super::tool::{Etcdctl, with_each};

/// A transaction: compares, then, else, as lines.
fn txn(etcdctl: &Etcdctl, compares: &str, success: &str, failure: &str) -> String {
    etcdctl.says_to(&["txn"], &format!("{compares}\n\n{success}\n\n{failure}\n\n"))
}

#[test]
fn transactions_take_one_branch() {
    with_each(|etcdctl| {
        etcdctl.says(&["put", "k", "old"]);
        let said = txn(etcdctl, "value(\"k\") = \"old\"", "put k new\nget k", "get k");
        assert_eq!(said, "SUCCESS\n\nOK\n\nk\nnew\n");
        let said = txn(etcdctl, "value(\"k\") = \"old\"", "put k newer", "get k\ndel k");
        assert_eq!(said, "FAILURE\n\nk\nnew\n\n1\n");
        assert_eq!(etcdctl.says(&["get", "k"]), "");
    });
}

#[test]
fn everything_about_a_key_is_compared() {
    with_each(|etcdctl| {
        etcdctl.says(&["put", "k", "1"]);
        etcdctl.says(&["put", "k", "2"]);
        for (compare, branch) in [
            ("mod(\"k\") = \"3\"", "SUCCESS"),
            ("mod(\"k\") > \"3\"", "FAILURE"),
            ("create(\"k\") < \"3\"", "SUCCESS"),
            ("version(\"k\") = \"2\"", "SUCCESS"),
            ("version(\"nothing\") = \"0\"", "SUCCESS"),
            ("value(\"k\") > \"1\"", "SUCCESS"),
            ("value(\"nothing\") = \"\"", "FAILURE"),
            ("mod(\"k\") = \"3\"\nversion(\"k\") = \"1\"", "FAILURE"),
        ] {
            let said = txn(etcdctl, compare, "get k", "get k");
            assert_eq!(said, format!("{branch}\n\nk\n2\n"), "{compare}");
        }
    });
}

#[test]
fn a_transaction_is_asked_for_in_words() {
    with_each(|etcdctl| {
        let said = etcdctl.says_to(&["txn", "--interactive"], "version(\"k\") = \"0\"\n\nput k \"a b\"\n\n\n\n");
        assert!(said.starts_with("compares:\n"), "{said}");
        assert!(said.contains("success requests (get, put, del):\n"), "{said}");
        assert!(said.contains("failure requests (get, put, del):\n"), "{said}");
        assert!(said.ends_with("SUCCESS\n\nOK\n"), "{said}");
        assert_eq!(etcdctl.says(&["get", "k"]), "k\na b\n");
    });
}

#[test]
fn a_transaction_that_writes_a_key_twice_is_refused() {
    with_each(|etcdctl| {
        let refusal = etcdctl.refuses_to(&["txn"], "\nput k 1\nput k 2\n\n\n");
        assert!(refusal.contains("etcdserver: duplicate key given in txn request"), "{refusal}");
        assert_eq!(etcdctl.says(&["get", "k"]), "");
    });
}
