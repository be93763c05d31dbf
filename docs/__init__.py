"""What the documentation is made from."""
