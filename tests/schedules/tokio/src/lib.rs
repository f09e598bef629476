//! The scheduler's tokio, with what it lacks.

pub use shuttle_tokio::*;

pub mod sync {
    pub use shuttle_tokio::sync::*;

    pub mod watch {
        pub use shuttle_tokio::sync::watch::*;

        /// With `new`, for a channel whose receivers come later.
        #[derive(Debug)]
        pub struct Sender<T>(shuttle_tokio::sync::watch::Sender<T>);

        impl<T> Sender<T> {
            pub fn new(value: T) -> Self {
                Self(channel(value).0)
            }

            pub fn send_replace(&self, value: T) -> T {
                self.0.send_replace(value)
            }

            pub fn borrow(&self) -> Ref<'_, T> {
                self.0.borrow()
            }

            pub fn subscribe(&self) -> Receiver<T> {
                self.0.subscribe()
            }
        }
    }
}
