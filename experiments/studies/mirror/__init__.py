"""Which methods do the same on the same histories: similarities of policies, states, gains and errors."""
