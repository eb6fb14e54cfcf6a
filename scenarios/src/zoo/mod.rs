//! Planted bugs: known mistakes of real consensus stores, each a small patch to a scratch copy of the workspace. The
//! oracle has to notice every one of them, by the right checker, and nothing in the tree as it is.

pub mod hunt;
pub mod library;
pub mod patch;
pub mod plant;
pub mod state;
pub mod table;
pub mod tree;
