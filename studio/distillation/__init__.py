"""Recovery: the original teaches the compressed model."""
