"""Settings become compressed layers."""
