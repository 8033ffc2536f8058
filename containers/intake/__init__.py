"""A submitted image: checked before it is loaded, pinned by digest."""
