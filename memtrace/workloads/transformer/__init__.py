"""Model a decoder-only transformer, operator by operator: what each allocates, keeps for the backward pass, and frees."""
