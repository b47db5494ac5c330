//! Tasks that read logs and nodes, and write what they make of them to instances of their own.

mod checkpoint;
pub mod faults;
