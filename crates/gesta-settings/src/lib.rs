//! Settings of programs: options of the command line over environment variables over a TOML file
//! over defaults.
//!
//! The arguments that a program declares with clap are the only list of its settings: an argument
//! with a long name and an environment variable is a setting, by the long name.
//!
//! ```
//! use clap::{Arg, Command};
//! use gesta_settings::{Settings, SettingsFile};
//!
//! let port = Arg::new("port").long("port").env("DOORS_PORT").default_value("80");
//! let command = Command::new("doors").arg(port);
//! let settings = Settings::of(&command, &[]);
//! let file = SettingsFile::parse("doors.toml".as_ref(), "port = 8080", &settings)?;
//! let matches = file.as_defaults_of(command).get_matches_from(["doors"]);
//! let listing = settings.in_force(&matches, Some(&file));
//! assert_eq!(listing.to_string(), "port = 8080  # doors.toml\n");
//! # Ok::<(), gesta_settings::InvalidSettings>(())
//! ```
//!
//! Owns: the settings of a command line ([`Settings`]), the file ([`SettingsFile`]), and the list
//! of the values in force with their sources ([`Listing`]).
//!
//! Invariants:
//! - A value of a file means what the same text means as an option: the option's own parser reads
//!   it.
//! - A name that is no setting is an error that says the nearest one.
//! - No password is in an error or a listing. A value of an argument that hides its environment
//!   variable (`hide_env`) is never shown; one that hides the variable's value
//!   (`hide_env_values`) is shown as a URL without its password.
//!
//! Not here: what a setting means, which is with its argument; the log, and what a program checks
//! besides the single values.

mod file;
mod in_force;
mod settings;

pub use file::{InvalidSettings, SettingsFile};
pub use in_force::{Listing, SettingInForce, SettingSource, SettingValue};
pub use settings::Settings;

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
