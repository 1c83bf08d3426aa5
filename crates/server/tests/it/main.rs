//! The command as its users meet it: the real program, its output, its messages, its exit codes.

#[cfg(test)]
mod backup;
#[cfg(test)]
mod config;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod failure;
#[cfg(test)]
mod keep;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod live;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tenants;
