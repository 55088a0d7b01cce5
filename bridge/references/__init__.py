"""Reference agents: what 0 and 1 mean, exactly where that can be had."""
