"""What a challenge is: definition files, their models, the registry, cases and campaigns."""
