"""What the product knows about itself: what every finding means, and whether this machine has what it takes."""
