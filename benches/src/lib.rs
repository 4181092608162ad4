//! Placeholder until the first engine lands.
