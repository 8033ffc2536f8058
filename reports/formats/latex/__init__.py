"""A document as a small LaTeX project: sources that people read, edit and put into their own papers."""
