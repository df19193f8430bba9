"""From recordings and training forms to what the runtime loads."""
