"""Speed, memory and accuracy, side by side with the literal code and with peers: `make bench`."""
