"""Record how many live bytes each range of addresses has, their tag and their age, at some events of a replay."""
