"""Studies on a cluster: what must hold of its nodes before anything is measured."""
