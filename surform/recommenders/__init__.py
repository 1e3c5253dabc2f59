"""Ranking of items from tables of mixed features: Hiformer, its baselines, scores and serving."""
