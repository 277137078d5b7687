//! Sockets: SSH; bridges them to the sync floors.
