"""Would it have known? Signals of failure from the first shots of a trial, and what a switch gains by them."""
