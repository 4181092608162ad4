//! Identity against a program nobody here wrote: an OpenID Connect provider (npm `oidc-provider`).
//!
//! `bash .ci/foreign` installs it; without it the tests say SKIPPED, and fail where `CI=true`.

mod oidc;
mod process;
mod provider;
