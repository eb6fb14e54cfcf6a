//! `etcdctl`, the tool that operators have, against three real members: every command for keys, transactions, watches,
//! leases, locks and elections, with its flags.
//!
//! Expected output is what etcdctl prints for etcd. Every etcdctl that is at hand is tried: that of the system (Debian
//! has 3.4), and the one that is fetched with an etcd (3.5). Where there is none, each test says so and proves
//! nothing.

mod keys;
mod leases;
mod locks;
mod members;
mod tool;
mod txns;
mod watches;
