"""One module for each question of the benchmark."""
