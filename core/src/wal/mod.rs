//! The write-ahead log as bytes: records, segments, durable marks, recovery. Knows no files.
