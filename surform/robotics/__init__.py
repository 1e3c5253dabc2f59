"""Policies of robots: what a robot sees and is told in, its next actions out."""
