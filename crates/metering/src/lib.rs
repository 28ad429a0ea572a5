//! The rules: money, markup, billing day, identity, settlement and roll-up; no I/O, no clock, no async.
