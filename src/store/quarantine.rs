//! Pack bytes from a peer into a pack that nobody sees until the push commits.
