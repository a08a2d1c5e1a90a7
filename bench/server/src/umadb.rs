//! The server of UmaDB 0.7.8, as its own program starts it.

use std::process::ExitCode;

fn main() -> ExitCode {
    let ended =
        umadb::parse_cli_options(std::env::args()).and_then(umadb::start_server_with_cli_options);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
