"""How good is it still: data, metrics, intervals."""
