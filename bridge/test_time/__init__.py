"""Test-time fine-tuning: gradient steps within a trial, on weights of each trial's own."""
