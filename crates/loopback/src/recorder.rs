//! Answers everything with one status, so that a test can look at the requests.

use std::io;

use crate::{
    reply,
    serve::{Server, start},
};

/// Starts a server that answers every request with `code` and no body.
///
/// # Errors
/// When no port is free.
pub fn serve(code: u16) -> io::Result<Server> {
    start(0, move |_| reply::status(code))
}
