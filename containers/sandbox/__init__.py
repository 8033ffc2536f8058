"""What one container may do, see and use."""
