"""What a layer looks like: statistics and spectrum."""
