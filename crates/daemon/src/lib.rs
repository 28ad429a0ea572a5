//! Builds everything, owns the listeners and the lifecycle.
