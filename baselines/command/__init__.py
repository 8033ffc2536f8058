"""Methods that are commands: anything that can be started becomes a baseline."""
