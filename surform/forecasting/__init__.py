"""Transformers for multivariate time series and their training."""
