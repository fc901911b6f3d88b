//! What is wrong with a resource, and where.

use std::fmt;

/// A field that is wrong or not supported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::discovery) struct Fault {
    path: String,
    reason: String,
}

impl Fault {
    /// A fault of a field of the message at hand.
    pub(super) fn new(field: &str, reason: impl Into<String>) -> Self {
        Self { path: field.to_owned(), reason: reason.into() }
    }

    /// A fault of the message at hand as a whole.
    pub(super) fn here(reason: impl Into<String>) -> Self {
        Self::new("", reason)
    }
}

/// `virtual_hosts[0].routes[2].match.safe_regex.regex: ...`
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.reason) } else { write!(f, "{}: {}", self.path, self.reason) }
    }
}

/// Says in which field of the outer message a fault lies.
pub(super) trait Within {
    fn within(self, field: &str) -> Self;
    fn within_item(self, field: &str, index: usize) -> Self;
}

impl<T> Within for Result<T, Fault> {
    fn within(self, field: &str) -> Self {
        self.map_err(|fault| {
            let path = if fault.path.is_empty() { field.to_owned() } else { format!("{field}.{}", fault.path) };
            Fault { path, ..fault }
        })
    }

    fn within_item(self, field: &str, index: usize) -> Self {
        // Formatted only when there is a fault: these paths are long lists' most frequent line.
        if self.is_err() { self.within(&format!("{field}[{index}]")) } else { self }
    }
}

/// Refuses a field that is set although it is not supported.
pub(super) fn unset<T: Default + PartialEq>(field: &str, value: &T) -> Result<(), Fault> {
    if *value == T::default() { Ok(()) } else { Err(Fault::new(field, "is not supported by this proxy")) }
}

/// Refuses a message that sets one of these fields: they change what it means, and are not supported.
macro_rules! refuse {
    ($message:expr; $($field:ident),+ $(,)?) => {
        $(
            // A field that Envoy has deprecated changes the meaning all the same.
            #[allow(deprecated)]
            crate::discovery::resources::fault::unset(stringify!($field), &$message.$field)?;
        )+
    };
}
pub(super) use refuse;
