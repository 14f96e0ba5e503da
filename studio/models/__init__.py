"""Files become models, models become layers."""
