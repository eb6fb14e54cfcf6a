//! Checks of a request that need no store; the proposer makes them before anything enters the log.
