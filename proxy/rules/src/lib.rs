//! The decisions of the Weft proxy, without any I/O.
//!
//! Nothing here opens a socket, reads a clock or draws a random number: time and randomness are arguments, so that every
//! decision can be tested exactly and at once. In the order in which a connection meets them:
//!
//! | module | decides |
//! | --- | --- |
//! | [`sniff`] | which protocol a connection speaks, from its first bytes |
//! | [`headers`] | which headers end at this hop |
//! | [`rate_limit`] | whether a request is let in |
//! | [`route`] | which rule a request falls under |
//! | [`fault`] and [`share`] | whether it meets a fault on purpose, or is mirrored |
//! | [`weighted`] | which of a rule's weighted backends takes it |
//! | [`header_edits`] and [`rewrite`] | what becomes of its headers, host and path |
//! | [`redirect`] | where the client is sent instead |
//! | [`timeouts`] | how long it may take |
//! | [`limits`] | whether there is room for one more |
//! | [`hash`], [`session`] and [`cookies`] | which endpoint it should stay with |
//! | [`balance`] | which endpoint of the backend takes it |
//! | [`health`] and [`outlier`] | which endpoints are left out |
//! | [`retry`] and [`budget`] | whether a failed attempt may be made again |

pub mod balance;
pub mod budget;
pub mod cookies;
pub mod fault;
pub mod hash;
pub mod header_edits;
pub mod headers;
pub mod health;
pub mod limits;
pub mod outlier;
pub mod rate_limit;
pub mod redirect;
pub mod retry;
pub mod rewrite;
pub mod route;
pub mod session;
pub mod share;
pub mod sniff;
pub mod timeouts;
pub mod weighted;
