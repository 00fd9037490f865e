"""The war game: scenarios, what they do to fleet and demand, the run, and its yardstick."""
