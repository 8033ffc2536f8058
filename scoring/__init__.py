"""How a prediction is scored and how teams are ranked."""
