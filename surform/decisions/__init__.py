"""Decisions learnt in context: transformers that act in bandits and small worlds unseen before."""
