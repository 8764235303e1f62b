"""Programs that are started by path, each for itself; nothing imports them."""
