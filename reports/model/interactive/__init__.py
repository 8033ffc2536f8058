"""What a page with scripts lets its reader explore and look at."""
