//! `logmachine bench`: a load generator and a measuring subscriber that join as nodes of their own.
