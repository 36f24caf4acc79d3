"""Pruning methods, one per file; every `Method` of this package with a name is registered."""
