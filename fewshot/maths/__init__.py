"""Mathematics that several learners share, batched over episodes: solvers, descents, graphs, and the parts of heads."""
