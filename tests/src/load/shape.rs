//! What an operation of a load is like, whoever asks for it.

/// What the operations of a run are like; the same for one cluster and for two that are compared.
#[derive(Clone, Debug, clap::Args)]
pub struct Shape {
    /// Length of the values that are written.
    #[arg(long, default_value_t = 256, value_parser = value_bytes)]
    pub value_bytes: usize,
    /// Keys that one transaction writes before anything is measured.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=128))]
    pub preload_batch: u64,
    /// Keys that a range reads; no more than keys are drawn from.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub limit: u64,
    /// Streams over which `--watchers` are spread.
    #[arg(
        long,
        default_value_t = 10,
        requires = "watchers",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub watch_streams: u32,
}

impl Shape {
    /// Whether a range of so many keys can be read where keys are drawn from `key_space`.
    ///
    /// # Errors
    /// There are fewer.
    pub fn fits(&self, key_space: u64) -> Result<(), TooFewKeys> {
        if self.limit <= key_space { Ok(()) } else { Err(TooFewKeys { limit: self.limit, key_space }) }
    }
}

/// A range would read fewer keys than it is said to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--limit: a range of {limit} keys cannot be read of {key_space}, take at most that or a larger --key-space")]
pub struct TooFewKeys {
    /// What was asked for.
    pub limit: u64,
    /// How many keys there are to draw from.
    pub key_space: u64,
}

/// Reads the length of a value, which has to fit in a request with its key.
fn value_bytes(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(bytes) if bytes <= 1_500_000 => Ok(bytes),
        _ => Err("a value has 0 to 1500000 bytes, since a request may have 1.5 MiB".to_owned()),
    }
}
