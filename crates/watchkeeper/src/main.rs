//! The program `watchkeeper`: the command line with all shipped kinds.

fn main() -> std::process::ExitCode {
    watchkeeper::cli::main()
}
