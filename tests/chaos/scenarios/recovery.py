"""How long it takes from a death to the next answer, with a standby and without."""
