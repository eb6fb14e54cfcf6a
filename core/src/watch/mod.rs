//! Per-node delivery of watch events: positions, credit, batches.
