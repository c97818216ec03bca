"""bench.paper: each baseline against its formula, stages that resume, every table at smoke."""
