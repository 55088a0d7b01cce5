"""Pure, sourced functions that several parts of the library compute with."""
