//! Every setting, declared once: what it is called, what it means, what it is when nobody sets it, and whether
//! it is a secret. `docs/configuration.md` is made from [`DECLARED`].

mod declared;
mod load;
mod values;

pub use declared::{DECLARED, Declared};
pub use load::{Invalid, Problem, Settings};
pub use values::{Currency, LogFormat, SpendingLimit};
