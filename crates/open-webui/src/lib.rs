//! Who the caller is, as Open `WebUI` tells it with every call: by plain headers, or by a signed one; and whose
//! session a browser has.

mod identity;
mod sessions;
mod signed;

pub use identity::{Identity, IdentityError, IdentitySource};
pub use sessions::{SessionError, Sessions};
