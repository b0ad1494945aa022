"""What keeps secrets secret: sealing, where they may go, what of them may be seen."""
