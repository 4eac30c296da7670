"""MAML and its variants: one inner loop, one small file each."""
