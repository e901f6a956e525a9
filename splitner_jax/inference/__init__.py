"""From parameters to entities: the model, its folder, the pipeline."""
