//! Chaos for Peerloom meshes: what must hold while members die, and the tests
//! that make them die.
//!
//! * [`shape`]: when a mesh counts as formed or healed, judged from what its
//!   nodes say: degree, connectivity, rosters.
//! * [`ledger`]: which deliveries are owed to whom, and whether each was made
//!   exactly once.
//! * `tests/`: meshes of real nodes over real sockets in one process, one fault
//!   family a file: silent deaths, actors killed one by one, gossip cut, leaving,
//!   restarting from disk.
//!
//! * [`scenario`]: what befalls a mesh and what it has to bear, as TOML.
//! * [`sim`]: thousands of nodes of the pure overlay on virtual time.
//! * `scenarios/`: a pack of them; `docs/chaos.md` is for their users.
//!
//! `peerloom demo` judges itself by the first two, `peerloom chaos` is the
//! others. Drivers for the real stack and shrinking are not here yet.

pub mod ledger;
pub mod scenario;
pub mod shape;
pub mod sim;

pub use ledger::Ledger;
pub use scenario::Scenario;
pub use shape::{NodeView, Shape};
