//! What OpenRouter says on the wire, and a client for it.
