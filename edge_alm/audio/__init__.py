"""Where sound comes in: files, standard input, microphones; resampling; the ring."""
