"""References for points on a plane with a hidden goal."""
