"""The campaign folder, its cases and its ledger."""
