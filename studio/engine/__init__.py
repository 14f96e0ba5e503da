"""One door to the engine: the same requests inline or in a child process."""
