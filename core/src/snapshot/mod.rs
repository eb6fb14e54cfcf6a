//! A checkpoint or snapshot as checksummed chunks of bytes, and back.
