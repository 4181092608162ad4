//! Peerloom.
