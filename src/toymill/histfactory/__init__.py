"""HistFactory models: from a specification to arrays, the likelihood and its derivatives, where second minima can be."""
