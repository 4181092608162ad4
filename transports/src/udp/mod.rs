//! One UDP port per address family carries all of a node's peer connections.
//!
//! * [`Endpoint`] binds the ports and holds their [`Routes`].
//! * [`receive`] runs once per socket and hands one [`Datagrams`] batch per
//!   connection and wake-up to that connection's [`Inlet`].
//! * [`Sender`] belongs to one connection and writes straight to the socket; when
//!   the socket would block it keeps a bounded backlog.
//! * [`Registration`] is a connection's entry in the routes: its username
//!   fragments and the 5-tuples it owns. A 5-tuple belongs to one connection
//!   only; a second connection between the same two ports is told
//!   [`Claim::Taken`] and adds an ephemeral socket of its own.
//!
//! Nothing on the packet path takes a lock, starts a task or allocates per
//! packet. What is allocated per *batch*: the list of runs, and now and then a
//! buffer when consumers still hold all pooled ones.

mod buffer;
mod classify;
mod demux;
mod endpoint;
mod faults;
mod host;
mod ingress;
mod receive;
mod sender;
mod socket;

pub use buffer::{Datagrams, Run};
pub use classify::{PacketClass, stun_local_ufrag};
pub use demux::{
    Claim, Inlet, MAX_PATHS_PER_ROUTE, MAX_ROUTES, QuicEntry, Registration, RouteStats, Routes,
};
pub use endpoint::{BindError, Endpoint};
#[cfg(feature = "chaos")]
pub use faults::Impairment;
pub use host::{MAX_HOST_ADDRESSES, host_addresses};
pub use ingress::{Delivery, Ingress};
pub use receive::receive;
pub use sender::{MAX_BACKLOG_BYTES, Sender, Sent};
pub(crate) use socket::Blocked;
pub use socket::{BufferSizes, Discarded, SOCKET_BUFFER_BYTES, Socket};
