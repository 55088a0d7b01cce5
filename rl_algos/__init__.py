"""Classical track: MAML, RL², PEARL and multi-task RL."""
