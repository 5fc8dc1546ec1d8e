"""Distillation guided by the law of capacity gap: which teacher, how to prune it, how to learn from it."""
