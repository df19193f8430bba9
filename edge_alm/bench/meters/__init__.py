"""Power meters: what the board, the CPU, the battery or the bench has, behind one protocol."""
