//! A set of objects into the cheapest honest form of each.
/// The plan.
pub struct PackPlan;
