//! Identity against programs nobody here wrote: an OpenID Connect provider (npm `oidc-provider`)
//! and Firefox.
//!
//! `bash .ci/foreign` installs them; without them the tests say SKIPPED, and fail where `CI=true`.

mod firefox;
mod oidc;
#[path = "../common/process.rs"]
mod process;
mod program;
mod provider;
