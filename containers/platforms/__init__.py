"""What other platforms expect of a container or a bundle."""
