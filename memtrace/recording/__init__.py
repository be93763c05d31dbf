"""Recording: programs of one kind in each file, run and turned into a trace."""
