"""Meta-World: a robot arm that manipulates objects, simulated by the package ``metaworld``."""
