//! Bytes between members: the handshake, and frames with their lengths.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use detcd_core::types::{ClusterId, NodeId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The first bytes of a connection; the digit is the version of this format.
const MAGIC: &[u8; 8] = b"detcd/1\n";
const HELLO_BYTES: usize = 32;
const WELCOME_BYTES: usize = 17;
const LENGTH_BYTES: usize = 4;

/// No frame is longer than this.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// What the dialling member says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Who it is.
    pub from: NodeId,
    /// Whom it wants to reach.
    pub to: NodeId,
}

/// What the other one answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Its verdict.
    pub verdict: Verdict,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Who it is.
    pub own: NodeId,
}

/// Whether a connection is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Frames may follow.
    Taken,
    /// The clusters are different.
    OtherCluster,
    /// Another member was wanted.
    OtherMember,
    /// The dialling member does not belong to the cluster.
    Stranger,
}

impl Verdict {
    /// The reason for an operator.
    pub fn reason(self) -> &'static str {
        match self {
            Verdict::Taken => "taken",
            Verdict::OtherCluster => "it belongs to another cluster",
            Verdict::OtherMember => "another member listens there",
            Verdict::Stranger => "it does not know this member",
        }
    }
}

/// Writes a hello.
pub async fn write_hello(stream: &mut (impl AsyncWrite + Unpin), hello: Hello) -> io::Result<()> {
    let mut bytes = BytesMut::with_capacity(HELLO_BYTES);
    bytes.put_slice(MAGIC);
    bytes.put_u64(hello.cluster.0);
    bytes.put_u64(hello.from.0);
    bytes.put_u64(hello.to.0);
    stream.write_all(&bytes).await
}

/// Reads a hello.
pub async fn read_hello(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Hello> {
    let mut bytes = [0; HELLO_BYTES];
    stream.read_exact(&mut bytes).await?;
    let mut rest = after_magic(&bytes)?;
    Ok(Hello { cluster: ClusterId(rest.get_u64()), from: NodeId(rest.get_u64()), to: NodeId(rest.get_u64()) })
}

/// Writes a welcome.
pub async fn write_welcome(stream: &mut (impl AsyncWrite + Unpin), welcome: Welcome) -> io::Result<()> {
    let mut bytes = BytesMut::with_capacity(WELCOME_BYTES);
    bytes.put_u8(welcome.verdict as u8);
    bytes.put_u64(welcome.cluster.0);
    bytes.put_u64(welcome.own.0);
    stream.write_all(&bytes).await
}

/// Reads a welcome.
pub async fn read_welcome(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Welcome> {
    let mut bytes = [0; WELCOME_BYTES];
    stream.read_exact(&mut bytes).await?;
    let mut rest = &bytes[..];
    let verdicts = [Verdict::Taken, Verdict::OtherCluster, Verdict::OtherMember, Verdict::Stranger];
    let number = rest.get_u8();
    let verdict = verdicts.into_iter().find(|verdict| *verdict as u8 == number);
    let verdict = verdict.ok_or_else(|| io::Error::other(format!("an unknown verdict {number}")))?;
    Ok(Welcome { verdict, cluster: ClusterId(rest.get_u64()), own: NodeId(rest.get_u64()) })
}

fn after_magic(bytes: &[u8]) -> io::Result<&[u8]> {
    bytes.strip_prefix(MAGIC).ok_or_else(|| io::Error::other("it does not speak detcd's protocol of this version"))
}

/// Writes frames: small ones together in `buffer`, which is empty before and after.
pub async fn write_frames(
    stream: &mut (impl AsyncWrite + Unpin),
    frames: impl IntoIterator<Item = Bytes>,
    buffer: &mut BytesMut,
) -> io::Result<()> {
    const TOGETHER_BYTES_MAX: usize = 64 << 10;
    for frame in frames {
        let length = u32::try_from(frame.len()).expect("the queue takes no frame beyond FRAME_BYTES_MAX");
        buffer.put_u32(length);
        if frame.len() <= TOGETHER_BYTES_MAX {
            buffer.put_slice(&frame);
        }
        if buffer.len() >= TOGETHER_BYTES_MAX || frame.len() > TOGETHER_BYTES_MAX {
            stream.write_all(buffer).await?;
            buffer.clear();
        }
        if frame.len() > TOGETHER_BYTES_MAX {
            stream.write_all(&frame).await?;
        }
    }
    if !buffer.is_empty() {
        stream.write_all(buffer).await?;
        buffer.clear();
    }
    Ok(())
}

/// Reads the next frame; `None` if the other end closed the connection between two frames.
///
/// `buffer` holds what was read beyond. A length is believed only as far as bytes follow it.
pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    const READ_BYTES: usize = 64 << 10;
    loop {
        if buffer.len() >= LENGTH_BYTES {
            let length = usize::try_from((&buffer[..]).get_u32()).map_err(io::Error::other)?;
            if length > FRAME_BYTES_MAX {
                return Err(io::Error::other(format!("a frame of {length} bytes is too long")));
            }
            if buffer.len() >= LENGTH_BYTES + length {
                buffer.advance(LENGTH_BYTES);
                return Ok(Some(buffer.split_to(length).freeze()));
            }
        }
        buffer.reserve(READ_BYTES);
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}
