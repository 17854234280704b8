//! Carries bytes both ways between two sockets, until both ends are over, nothing moves, or there were too many.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    time,
};

/// Longest time in which nothing moves either way.
/// Source: common proxies close an idle tunnel after one to fifteen minutes.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// Most bytes one way: a large package or repository fits.
const BYTES_MAX: u64 = 4 << 30;
/// Bytes carried at once.
const CHUNK_BYTES: usize = 32 * 1024;

/// Carries bytes between the two, after sending `early` to the far one.
pub(crate) async fn pump(mut near: TcpStream, mut far: TcpStream, early: &[u8]) -> io::Result<()> {
    far.write_all(early).await?;
    let moved = AtomicU64::new(0);
    let (mut near_in, mut near_out) = near.split();
    let (mut far_in, mut far_out) = far.split();
    let out = one_way(&mut near_in, &mut far_out, &moved);
    let back = one_way(&mut far_in, &mut near_out, &moved);
    tokio::try_join!(out, back)?;
    Ok(())
}

async fn one_way(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    moved: &AtomicU64,
) -> io::Result<()> {
    let mut room = vec![0; CHUNK_BYTES];
    let mut total = 0_u64;
    loop {
        let came = unless_idle(from.read(&mut room), moved).await?;
        if came == 0 {
            return to.shutdown().await;
        }
        total += u64::try_from(came).unwrap_or(u64::MAX);
        if total > BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let bytes = room.get(..came).unwrap_or_default();
        unless_idle(to.write_all(bytes), moved).await?;
        moved.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits for an act as long as something moves, either way.
async fn unless_idle<T>(
    act: impl Future<Output = io::Result<T>>,
    moved: &AtomicU64,
) -> io::Result<T> {
    let mut act = std::pin::pin!(act);
    loop {
        let before = moved.load(Ordering::Relaxed);
        match time::timeout(IDLE_MAX, act.as_mut()).await {
            Ok(done) => return done,
            Err(_) if moved.load(Ordering::Relaxed) == before => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(_) => {}
        }
    }
}
