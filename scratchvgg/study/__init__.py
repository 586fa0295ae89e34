"""Floor 9: looking into a net."""
