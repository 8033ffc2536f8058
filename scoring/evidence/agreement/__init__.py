"""How far several raters, or several rounds of one, agree about the same items."""
