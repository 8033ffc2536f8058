"""medpodium: run, score, rank and report medical-image challenges from one definition file."""
