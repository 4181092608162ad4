//! What a stack's program brings.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::Future;

use bytes::Bytes;

use crate::options::Options;

/// Whatever went wrong; a program can only give up.
pub type Failure = Box<dyn Error + std::marker::Send + Sync>;

/// The stack has no such thing; the table shows a dash.
#[derive(Debug)]
pub struct Unsupported(pub &'static str);

impl fmt::Display for Unsupported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl Error for Unsupported {}

/// What a channel promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Everything arrives, in order.
    Reliable,
    /// Each message arrives or does not, in any order.
    Datagrams,
}

/// A stack under test: the near end and the far end of its connections. Where it
/// shares sockets among connections, all near ends share one and all far ends
/// another.
pub trait Stack: Sized + std::marker::Send + Sync + 'static {
    /// Both ends of a connection that have not met yet.
    type Ends: std::marker::Send + 'static;
    /// Sends on a channel.
    type Send: Send;
    /// Receives from it.
    type Receive: Receive;

    /// Opens what all connections share.
    fn create(options: &Options)
    -> impl Future<Output = Result<Self, Failure>> + std::marker::Send;

    /// Creates both ends of one connection.
    fn ends(&self) -> impl Future<Output = Result<Self::Ends, Failure>> + std::marker::Send;

    /// Connects them, through the relay where the options name one, with one
    /// channel on which both may send.
    fn connect(
        &self,
        ends: Self::Ends,
        kind: Kind,
    ) -> impl Future<Output = Result<Link<Self>, Failure>> + std::marker::Send;
}

/// Two connected ends.
pub struct Link<S: Stack> {
    /// The near end of the channel.
    pub near: (S::Send, S::Receive),
    /// The far end.
    pub far: (S::Send, S::Receive),
    /// What must live as long as the connection.
    pub keep: Box<dyn Any + std::marker::Send>,
}

/// The sending half of a channel.
pub trait Send: std::marker::Send + 'static {
    /// Hands over a message, as soon as the stack asks for more.
    fn send(
        &mut self,
        message: Bytes,
    ) -> impl Future<Output = Result<(), Failure>> + std::marker::Send;
}

/// The receiving half.
pub trait Receive: std::marker::Send + 'static {
    /// Waits for messages and returns their bytes, or for some bytes of a stream.
    fn receive(&mut self) -> impl Future<Output = Result<usize, Failure>> + std::marker::Send;
}
