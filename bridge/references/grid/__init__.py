"""References for grids with a hidden goal."""
