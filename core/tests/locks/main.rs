//! The Lock and Election services as conversations with a store.

mod elections;
mod leaving;
mod locking;
mod observing;
mod random;
mod world;
