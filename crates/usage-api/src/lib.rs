//! Reading: the usage endpoints and who may read them.
