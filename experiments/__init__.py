"""The metabridge command and the experiments it runs."""
