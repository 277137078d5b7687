//! Locks and quarantines of ours, each with an owner whose life is proven by a held `flock`; what a dead one left is removed.
