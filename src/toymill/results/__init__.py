"""What a study leaves: the store, tallies, and its text files."""
