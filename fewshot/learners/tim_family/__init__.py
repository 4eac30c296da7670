"""TIM and its variants: one descent on support and queries, one small file each."""
