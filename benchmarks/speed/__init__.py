"""What share of the machine's arithmetic each model reaches, and where the rest goes."""
