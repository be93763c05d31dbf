"""Recording the calls of malloc of a real program, and turning recordings into traces."""
