"""One file a table of the pipeline: the flows it gets."""
