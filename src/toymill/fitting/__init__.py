"""Fits of many toys: the problem, the minimisers, how each fit ended, and what is kept of it."""
