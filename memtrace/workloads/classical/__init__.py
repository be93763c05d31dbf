"""What the classical workloads are made of."""
