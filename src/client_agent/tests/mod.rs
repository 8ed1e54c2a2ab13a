//! Drives the role as the daemon does.
