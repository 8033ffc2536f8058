"""EvalAI: the challenge configuration and the evaluation script."""
