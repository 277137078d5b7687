//! Who are you, what may you do, what repository is this path.
