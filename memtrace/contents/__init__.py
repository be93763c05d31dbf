"""What lives where: which tag, and how long, in each range of addresses at some events of a replay."""
