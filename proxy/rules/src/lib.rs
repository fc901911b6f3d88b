//! The decisions of the Weft proxy, without any I/O.
//!
//! Nothing here opens a socket, reads a clock or draws a random number: time and randomness are arguments, so that every
//! decision can be tested exactly and at once. In the order in which a connection meets them:
//!
//! | module | decides |
//! | --- | --- |
//! | [`sniff`] | which protocol a connection speaks, from its first bytes |
//! | [`headers`] | which headers end at this hop |
//! | [`route`] | which rule a request falls under |
//! | [`weighted`] | which of a rule's weighted backends takes it |
//! | [`balance`] | which endpoint of the backend takes it |
//! | [`retry`] and [`budget`] | whether a failed attempt may be made again |

pub mod balance;
pub mod budget;
pub mod headers;
pub mod retry;
pub mod route;
pub mod sniff;
pub mod weighted;
