//! What the runner asks for.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::stack::Failure;

/// Arguments that every stack's program takes, in whatever language.
#[derive(Parser, Debug, Clone)]
pub struct Options {
    /// What to do.
    #[arg(long, value_enum)]
    pub workload: Workload,
    /// Bytes of a message.
    #[arg(long, default_value_t = 16_384)]
    pub size: usize,
    /// Connections (W5, W6); set-ups at most (W4).
    #[arg(long, default_value_t = 1)]
    pub count: usize,
    /// How long to measure.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// The relay between both ends: its address for the near end, for the far
    /// end, and where it is told the far end's address (W7).
    #[arg(long)]
    pub via: Option<Via>,
    /// One of the stack's own ways to do it.
    #[arg(long)]
    pub variant: Option<String>,
}

impl Options {
    /// How long to measure.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// The workloads, as `docs/performance.md` describes them.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
#[value(rename_all = "verbatim")]
pub enum Workload {
    /// One reliable, ordered channel kept full.
    W1,
    /// Unordered, unreliable messages, as many as leave.
    W2,
    /// One message there and back, again and again.
    W3,
    /// From both ends created to the first message.
    W4,
    /// Connections on which nothing happens.
    W5,
    /// One peer that keeps many channels full.
    W6,
    /// W1 through the relay.
    W7,
}

/// A relay between both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via {
    /// Where the near end finds the far one.
    pub near: SocketAddr,
    /// Where the far end finds the near one.
    pub far: SocketAddr,
    control: SocketAddr,
}

impl Via {
    /// Tells the relay where the far end is, for stacks of which only the near end
    /// speaks first.
    pub fn far_is_at(&self, address: SocketAddr) -> Result<(), Failure> {
        tell(self.control, address)
    }
}

/// Tells the relay of this control address where its far end is.
pub(crate) fn tell(control: SocketAddr, address: SocketAddr) -> Result<(), Failure> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(address.to_string().as_bytes(), control)?;
    // The relay echoes what it has understood.
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.recv(&mut [0; 64])?;
    Ok(())
}

impl FromStr for Via {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let mut parts = text.split(',').map(str::parse);
        let mut next = || match parts.next() {
            Some(address) => Ok::<SocketAddr, Failure>(address?),
            None => Err("give three addresses, with commas between".into()),
        };
        Ok(Self {
            near: next()?,
            far: next()?,
            control: next()?,
        })
    }
}
