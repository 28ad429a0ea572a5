//! Every setting declared once: name, type, default, documentation, secret or not.
