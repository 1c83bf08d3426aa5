//! Stand-ins, on loopback, for the services that tests of Siltstone talk to.
//!
//! Each is a server of its own file that checks what a real one checks (tokens, headers, the order
//! of calls) and answers as a real one answers, as far as the tests need it. They keep everything in
//! memory, listen on 127.0.0.1 alone, and are gone when their [`Server`] is dropped. None of this is
//! part of the product.

#![forbid(unsafe_code)]

pub mod aws_container;
pub mod aws_metadata;
pub mod aws_sts;
pub mod gcs;
pub mod google_auth;
pub mod recorder;
mod reply;
pub mod s3;
mod serve;

pub use serve::{Seen, Server};
