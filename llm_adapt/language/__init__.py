"""A pretrained causal language model: its weights, trees of tokens, and the scores of labels after prompts."""
