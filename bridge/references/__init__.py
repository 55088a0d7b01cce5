"""Reference agents, which define 0 and 1 of normalised scores; exact if possible."""
