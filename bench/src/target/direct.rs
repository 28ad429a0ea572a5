//! Nothing in the way.

use super::{CHAT_PATH, Ground, KEY, Target, headers};
use crate::books::Books;
use crate::client::Road;

pub(crate) fn start(ground: &Ground<'_>) -> anyhow::Result<Target> {
    let road = Road::new(ground.simulator_address()?, CHAT_PATH, headers(KEY)?)?;
    Ok(Target { name: "direct", road, process: None, books: Books::None })
}
