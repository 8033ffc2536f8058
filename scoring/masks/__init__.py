"""From a file nobody vouches for to labels on a grid."""
