"""How much memory is used at once, in bytes: every size of a batch follows from one of these budgets."""

CACHE_BLOCK = 4 * 2**20
"""The largest temporaries of a block of toys: they then stay in a core's second-level cache."""

MOST_OF_BLOCK = 2**29
"""The largest temporaries of a block at all: of models so large that fewer than 16 toys fit in the cache."""

HESSIANS = 2**16
"""Exact Hessians that are computed at once: with their temporaries, many times as large, they stay in that cache."""

CERTIFIED_COVARIANCES = 2**27
"""Covariances that are made at once of exact Hessians, if a toy's is no larger."""

PROGRAM_RESULTS = 2**24
"""Results of one call of a compiled program, which goes through several blocks."""

PROFILES = 2**27
"""Temporaries of the approximate profiles in which second minima are looked for."""

COVARIANCES = 2**27
"""Covariances, or their columns, between a free fit and its conditional fits."""

INTERVAL_ENDS = 2**27
"""Data and parameters of all ends of profile intervals that are searched for at once."""

THROWN = 2**25
"""Data that are thrown at once, where a toy has many."""

TABLES = 2**28
"""Tables of inverse Poisson distributions, one for each mean."""

DRAWN = 2**26
"""Main data that a model's own ``draw`` makes at once."""

TOYS = 2**26
"""Data and fits of the toys that a job holds, if a block of toys is no larger."""

SHARD_ROWS = 2**26
"""Fits that are read from shards at once, if a block of toys is no larger."""

OPENED_FRAME = 2**31
"""The largest frame that is made of stored fits in a user's session."""

HDF5_CHUNK = 2**18
"""A chunk of a dataset, which is written and checked at once."""
