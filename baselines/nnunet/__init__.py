"""nnU-Net from the challenge file to predictions."""
