"""Label maps per case: masks in, scores per structure out."""
