"""Real allocators of this machine, called through their own malloc and free in a process of their own."""
