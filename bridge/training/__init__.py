"""Training: the outer loop around any learner, and what it writes."""
