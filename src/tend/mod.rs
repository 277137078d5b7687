//! Maintenance in process, off the path of requests: folding packs, bitmaps, commit-graph, packing refs. Empty as yet.
