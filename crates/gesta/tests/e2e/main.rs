//! The framework as a program that is killed.

mod lease_kills;
mod reactor_kills;
