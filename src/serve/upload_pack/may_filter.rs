//! Which filters a client may ask for.
//!
//! Source: git-config, "uploadpackfilter.allow", `uploadpackfilter.<filter>.allow`, "uploadpackfilter.tree.maxDepth";
//! `upload-pack.c`: `check_filter_recurse`. Where nothing is said, git takes every filter; [`Defaults::Safe`] takes all but
//! `sparse:oid`, which would tell what a blob says, and trees up to a depth. What `combine:` joins is looked at one by one.

use super::{Conversation, Error};
use crate::serve::Defaults;
use crate::store::FilterRules;
use crate::wire::Filter;

/// Refuse a filter that is not allowed, in git's words.
pub(super) fn check_filter(conversation: &Conversation<'_>, filter: &Filter) -> Result<(), Error> {
    check(&conversation.snapshot.settings().fetch.filters, conversation.options.defaults, filter)
}

fn check(rules: &FilterRules, defaults: Defaults, filter: &Filter) -> Result<(), Error> {
    let name = filter.name();
    let default = defaults == Defaults::Git || !matches!(filter, Filter::SparseOid(_));
    // A general permission is not meant for what is off for its own sake.
    let allowed = match rules.by_name.get(bstr::BStr::new(name)) {
        Some(allowed) => *allowed,
        None => rules.others.unwrap_or(default) && default,
    };
    if !allowed {
        return Err(Error::Refused(format!("filter '{name}' not supported")));
    }
    match filter {
        Filter::TreeDepth(depth) => {
            let default = match defaults {
                Defaults::Git => u64::MAX,
                Defaults::Safe { tree_depth_max } => tree_depth_max,
            };
            let max = rules.tree_depth_max.unwrap_or(default);
            if *depth > max {
                return Err(Error::Refused(format!("tree filter allows max depth {max}, but got {depth}")));
            }
            Ok(())
        }
        Filter::Combine(filters) => filters.iter().try_for_each(|filter| check(rules, defaults, filter)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFE: Defaults = Defaults::Safe { tree_depth_max: 8 };

    fn refusal(rules: &FilterRules, defaults: Defaults, spec: &str) -> Option<String> {
        check(rules, defaults, &Filter::parse(spec.into()).unwrap()).err().map(|err| err.for_peer().unwrap())
    }

    #[test]
    fn without_rules_git_takes_everything_and_safe_defaults_nearly_so() {
        let none = FilterRules::default();
        for spec in ["blob:none", "blob:limit=1", "tree:8", "object:type=tag", "combine:tree:8+blob:none"] {
            assert_eq!((refusal(&none, Defaults::Git, spec), refusal(&none, SAFE, spec)), (None, None), "{spec}");
        }
        assert_eq!(refusal(&none, Defaults::Git, "tree:18446744073709551615"), None);
        assert_eq!(refusal(&none, SAFE, "tree:9").unwrap(), "tree filter allows max depth 8, but got 9");
        assert_eq!(refusal(&none, SAFE, "combine:blob:none+tree:9").unwrap(), "tree filter allows max depth 8, but got 9");
        assert_eq!(refusal(&none, Defaults::Git, "sparse:oid=main:x"), None);
        assert_eq!(refusal(&none, SAFE, "sparse:oid=main:x").unwrap(), "filter 'sparse:oid' not supported");
    }

    #[test]
    fn a_rule_for_a_filter_wins_over_the_one_for_all_others() {
        let by_name = [("blob:none".into(), true), ("combine".into(), true), ("sparse:oid".into(), true)].into();
        let rules = FilterRules { others: Some(false), by_name, tree_depth_max: Some(100) };
        assert_eq!(refusal(&rules, Defaults::Git, "blob:none"), None);
        assert_eq!(refusal(&rules, SAFE, "sparse:oid=main:x"), None);
        assert_eq!(refusal(&rules, Defaults::Git, "tree:1").unwrap(), "filter 'tree' not supported");
        assert_eq!(refusal(&rules, Defaults::Git, "combine:blob:none+tree:1").unwrap(), "filter 'tree' not supported");
        let others = FilterRules { others: Some(true), tree_depth_max: Some(100), ..FilterRules::default() };
        assert_eq!(refusal(&others, SAFE, "tree:100"), None);
        assert_eq!(refusal(&others, SAFE, "sparse:oid=main:x").unwrap(), "filter 'sparse:oid' not supported");
    }
}
