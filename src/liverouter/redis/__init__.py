"""What processes tell each other through one Redis, where there is one: cooldowns, and that there is a revision."""
