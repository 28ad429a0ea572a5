//! Who the caller is, as Open `WebUI` tells it with every call: by plain headers, or by a signed one.

mod identity;
mod signed;

pub use identity::{Identity, IdentityError, IdentitySource};
