"""W&B, the mirror of what lies on the disk: kept while trials run, filled in afterwards, and read back."""
