"""What the transformers adapter knows: how each family of depth networks is fed, and where its files come from."""
