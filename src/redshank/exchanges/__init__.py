"""Hash lists and indicators of other organizations in, reviewed entries of our own out."""
