//! `LiteLLM`'s proxy (Python), one worker. Without a database it calculates costs and keeps none.

use std::fs;
use std::path::Path;

use super::{Ground, KEY, Target, free_address, headers};
use crate::books::Books;
use crate::client::Road;
use crate::process::Process;

/// Without one it does not start; a weak one it refuses.
const MASTER_KEY: &str = "sk-5f1c0a7e9b3d4f62a8c1e0d7b6a59483f2e1d0c9b8a79685";

/// `program` is the command `litellm`.
pub(crate) fn start(ground: &Ground<'_>, program: &Path) -> anyhow::Result<Target> {
    let (address, configuration) = (free_address()?, ground.folder.join("litellm.yaml"));
    fs::write(&configuration, configuration_of(&ground.simulator.base_url()))?;
    let mut command = ground.core.command(program);
    command.arg("--config").arg(&configuration);
    command.args(["--host", "127.0.0.1", "--port", &address.port().to_string(), "--num_workers", "1"]);
    // Its list of prices comes with it: a run asks nothing of the internet.
    command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True").env("LITELLM_MODE", "PRODUCTION");
    command.env("LITELLM_LOG", "ERROR");
    let process = Some(Process::start(command, &ground.folder.join("litellm.log"))?);
    let road = Road::new(address, "/v1/chat/completions", headers(MASTER_KEY)?)?;
    Ok(Target { name: "LiteLLM", road, process, books: Books::None })
}

fn configuration_of(base_url: &str) -> String {
    format!(
        "model_list:
  - model_name: example/small-model
    litellm_params:
      model: openrouter/example/small-model
      api_base: {base_url}
      api_key: {KEY}
general_settings:
  master_key: {MASTER_KEY}
litellm_settings:
  num_retries: 0
  telemetry: false
"
    )
}
