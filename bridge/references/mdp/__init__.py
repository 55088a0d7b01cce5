"""References for tabular MDPs."""
