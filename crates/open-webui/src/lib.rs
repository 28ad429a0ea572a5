//! Who the caller is, as Open WebUI tells it.
