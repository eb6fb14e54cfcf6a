//! The one place where clock, entropy, sockets, tasks and threads come from.
//!
//! Everything asynchronous in this crate goes through here, and files are `disk`'s alone. The loop around the node
//! knows neither: it has a `Body`, so that it runs on a simulated runtime as well.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use detcd_core::Instant;

/// What the HTTP server needs of a runtime: tasks, bytes and time.
pub use hyper_util::rt::{TokioExecutor as Executor, TokioIo as Io, TokioTimer as Timer};
/// Sockets.
pub use tokio::net::{TcpListener as Listener, TcpStream as Stream};

use crate::urls::Url;

/// How long data may stay unacknowledged by the other end before a connection counts as broken.
const UNACKNOWLEDGED_MS_MAX: u32 = 5_000;

/// Clock, entropy, sockets, tasks and threads of one member. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Host {
    start: std::time::Instant,
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub struct Task(tokio::task::JoinHandle<()>);

impl Task {
    /// Ends the task, and waits until it holds nothing any more, no port for example.
    pub async fn end(mut self) {
        self.0.abort();
        // It was cut off, or had ended by itself; both are what is wanted.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Host {
    /// A host whose clock starts now.
    pub fn start() -> Host {
        Host { start: std::time::Instant::now() }
    }

    /// The time on this host's monotonic clock.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(detcd_core::time::nanos(self.start.elapsed()))
    }

    /// A number that nobody can foresee, from the operating system.
    pub fn seed(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        let length = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        if length < bytes.len() {
            return Err(io::Error::other("the operating system gave fewer random bytes than asked for"));
        }
        Ok(u64::from_ne_bytes(bytes))
    }

    /// Waits.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Runs a future for at most `limit`; `None` if it was not done by then.
    pub async fn within<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        tokio::time::timeout(limit, future).await.ok()
    }

    /// Runs a future beside the others, for as long as the task is kept.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Task {
        Task(tokio::spawn(future))
    }

    /// Runs a future beside the others until it ends by itself.
    pub fn spawn_detached(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(future));
    }

    /// Runs a function that takes long beside the tasks, on one of the runtime's threads for that.
    ///
    /// # Panics
    ///
    /// If the function does.
    pub async fn apart<T: Send + 'static>(&self, body: impl FnOnce() -> T + Send + 'static) -> T {
        match tokio::task::spawn_blocking(body).await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Lets the thread that calls it wait; not for tasks.
    pub fn pause_thread(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    /// Runs a function on a thread of its own.
    pub fn thread<T: Send + 'static>(
        &self,
        name: &str,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<std::thread::JoinHandle<T>> {
        std::thread::Builder::new().name(name.into()).spawn(body)
    }

    /// Listens on a URL. A name is resolved to one address, IPv4 if there is one, as Go does it.
    pub async fn listen(&self, url: &Url) -> io::Result<Listener> {
        Listener::bind(resolve(url).await?).await
    }

    /// Waits for a connection, with TCP_NODELAY set.
    pub async fn accept(&self, listener: &Listener) -> io::Result<(Stream, SocketAddr)> {
        let (stream, from) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, from))
    }

    /// Connects to a URL, with TCP_NODELAY set, and with a limit to how long the other end may stay silent.
    pub async fn connect(&self, url: &Url) -> io::Result<Stream> {
        let stream = Stream::connect(resolve(url).await?).await?;
        stream.set_nodelay(true)?;
        rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MS_MAX)?;
        Ok(stream)
    }
}

async fn resolve(url: &Url) -> io::Result<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((url.host(), url.port())).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.first().copied().ok_or_else(|| io::Error::other(format!("{} has no address", url.host())))
}
