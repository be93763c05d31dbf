"""Parts of the classical workloads (`classic`, `robson`, and `fit`)."""
