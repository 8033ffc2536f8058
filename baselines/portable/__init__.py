"""Files that a packaged image carries as they are: they import the standard library only, or what nnU-Net brings."""
