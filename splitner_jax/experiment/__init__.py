"""One run: a config to corpus, tasks, training, scores and report."""
