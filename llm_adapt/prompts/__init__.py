"""Prompt formats: how a task and its history are written for a language model, and read back."""
