"""The host's side of the firmware bridge: protocol, codecs, links. PROTOCOL.md specifies it."""
