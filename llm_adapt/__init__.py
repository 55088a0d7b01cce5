"""Transformer track: in-context adaptation, and fine-tuning with adapters, per task or per family."""
