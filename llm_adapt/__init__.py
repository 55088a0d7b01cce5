"""Transformer track: in-context adaptation, LoRA few-shot fine-tuning and a text-prompted small language model."""
