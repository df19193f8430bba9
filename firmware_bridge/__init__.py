"""The workshop of the bridge to glasses and microcontrollers; its host side is edge_alm.bridge."""
