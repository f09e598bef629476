//! What the fuzz targets share: a second reading of docs/FORMAT.md, disks made of bytes, a watch over allocations.

pub mod disk;
pub mod format;
pub mod memory;
pub mod real;
pub mod seal;
pub mod serve;
