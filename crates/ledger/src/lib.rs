//! Calls, entries, daily rows, the organisation and its users on SQLite: one writer, many readers.
