"""What ``edge-alm bench`` measures, and how it is shown."""
