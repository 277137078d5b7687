//! Any bytes as a commit-graph, alone and as both layers of a chain. What it tells must lie within it.
#![no_main]

mod sound;

use libfuzzer_sys::fuzz_target;
use packmule::pack::CommitGraph;

fuzz_target!(|data: &[u8]| {
    let file = sound::damage(sound::COMMIT_GRAPH, data);
    for layers in [vec![file.clone().into()], vec![sound::COMMIT_GRAPH.into(), file.clone().into()], vec![]] {
        let Ok(graph) = CommitGraph::open(layers, sound::HASH) else { continue };
        assert!(graph.is_sound() && graph.is_known_sound() == Some(true) && graph.is_empty() == (graph.len() == 0));
        for position in sound::numbers(graph.len()) {
            assert_eq!(graph.id(position).is_some(), position < graph.len());
            if let Some(commit) = graph.commit(position) {
                assert!(commit.parents.iter().all(|parent| *parent < graph.len()));
                assert!(commit.generation.is_none_or(|generation| generation >= commit.date));
            }
            // In a file out of order an id need not be found.
            if let Some(at) = graph.id(position).and_then(|id| graph.find(id)) {
                assert_eq!(graph.id(at), graph.id(position));
            }
        }
        for id in sound::ids(data) {
            assert!(graph.find(&id).is_none_or(|at| graph.id(at) == Some(&id)));
        }
    }
});
