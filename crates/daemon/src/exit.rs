//! What a daemon's exit code tells the service manager; zero is a stop that was asked for.

/// An essential task ended, or the daemon could not start for another reason than its settings.
pub const FAILURE: u8 = 1;

/// The settings are wrong (`EX_CONFIG` of sysexits.h): starting again without a change is of no use.
pub const CONFIG: u8 = 78;
