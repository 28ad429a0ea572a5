//! The road from Open WebUI to OpenRouter: admission, forwarding, the body tap, limits, refusals.
