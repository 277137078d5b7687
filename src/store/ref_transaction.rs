//! Edits of refs into files: locked, old values compared under lock, renamed, synced.
