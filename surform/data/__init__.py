"""From files to batches: fields on regular grids, normalisers, solvers that make data."""
