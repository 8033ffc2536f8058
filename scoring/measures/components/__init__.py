"""Connected components, kept as runs of voxels."""
