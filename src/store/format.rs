//! A repository's format into its hash, or a refusal by name.
