//! A simulated OpenRouter with faults and a bill of its own.
