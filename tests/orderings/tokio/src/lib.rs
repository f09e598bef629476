//! What the house's log and hub use of tokio, on loom's primitives, as tokio documents it.

pub mod sync {
    mod notify;
    pub mod watch;

    pub use notify::{Notified, Notify};
}

/// Pins a value where it stands.
#[macro_export]
macro_rules! pin {
    ($name:ident) => {
        let mut $name = ::std::pin::pin!($name);
    };
}
