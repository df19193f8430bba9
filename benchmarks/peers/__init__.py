"""The runtime beside what people would use instead, on one machine in one run."""
