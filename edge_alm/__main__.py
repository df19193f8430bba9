"""``python -m edge_alm``."""

from edge_alm.cli.main import main

if __name__ == "__main__":
    main()
