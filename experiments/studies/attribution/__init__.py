"""Why methods fall short of the oracle: the parts of a gap, from the information in a context to the exploration."""
