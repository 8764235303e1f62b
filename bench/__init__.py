"""What the tunnel costs, measured beside the best of the others: `make bench`."""
