"""From samples to sound and speech events."""
