//! The framework as a program that is killed.

mod reactor_kills;
