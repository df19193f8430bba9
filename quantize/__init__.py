"""Makes smaller models out of float ones. Runs on a workstation, never on the device."""
